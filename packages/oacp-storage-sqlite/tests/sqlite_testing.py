"""What the tests of the SQLite backend share: engines without the storage above them, and other processes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from oacp_storage_engine import Append, DocKind, Put, Unit, document_crc, interaction_crc
from oacp_storage_sqlite.database import Settings
from oacp_storage_sqlite.engine import SQLiteEngine
from oacp_storage_sqlite.schema import SCHEMA, Schema

HERE = str(Path(__file__).parent)
AT_US = 1_700_000_000_000_000


def make_engine(
    path: Path,
    *,
    namespace: str = "default",
    wal: bool = True,
    full: bool = True,
    auto_vacuum: bool = True,
    schema: Schema = SCHEMA,
    pool_size: int = 3,
    timeout: float = 10.0,
) -> SQLiteEngine:
    settings = Settings(path=str(path), wal=wal, full=full, auto_vacuum=auto_vacuum, cache_size=1000)
    return SQLiteEngine(settings, namespace, schema=schema, pool_size=pool_size, timeout=timeout)


@asynccontextmanager
async def opened(engine: SQLiteEngine) -> AsyncIterator[SQLiteEngine]:
    try:
        await engine.open()
        yield engine
    finally:
        await engine.close()


def soon(seconds: float = 10.0) -> float:
    """A deadline for a primitive."""
    return asyncio.get_running_loop().time() + seconds


def append(
    agent: str,
    name: str,
    body: bytes = b'{"n":1}',
    *,
    given: bool = False,
    at_us: int = AT_US,
    sequence: int | None = None,
) -> Append:
    return Append(name, given, at_us, body, interaction_crc(agent, name, at_us, body), sequence)


def appends(agent: str, names: list[str], *, given: bool = False, body: bytes = b'{"n":1}') -> Unit:
    return Unit(agent, tuple(append(agent, name, body, given=given) for name in names))


def put(
    agent: str | None,
    kind: DocKind,
    key: str,
    body: bytes | None,
    *,
    expected: int | None = None,
    version: int | None = None,
) -> Unit:
    crc = 0 if body is None else document_crc(kind, agent, key, AT_US, body)
    return Unit(agent, (), (Put(kind, key, body, AT_US if body else 0, crc, expected, version),))


@contextmanager
def plain(path: Path) -> Iterator[sqlite3.Connection]:
    """The database as any other program sees it."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        yield connection
    finally:
        connection.close()


def start_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process running this code, with pipes for its input and output."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (HERE, os.environ.get("PYTHONPATH"))))},
    )


def run_python(code: str, *arguments: object, timeout: float = 60) -> str:
    """What the code prints; fails when it prints errors or ends with a status."""
    process = start_python(code, *arguments)
    out, err = process.communicate(timeout=timeout)
    assert (process.returncode, err) == (0, ""), err
    return out
