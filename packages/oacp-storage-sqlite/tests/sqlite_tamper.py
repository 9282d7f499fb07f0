"""A second path into a database: plain sqlite3, as a failing disk or another release would change it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oacp_storage_conformance import Tamper

_TEAR = """
import os, signal, sqlite3, sys
path, namespace, agent = sys.argv[1:]
connection = sqlite3.connect(path, isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that pages reach the write-ahead log before any commit
connection.execute("BEGIN IMMEDIATE")
ref, head = connection.execute(
    "SELECT ref, head FROM oacp_agents WHERE namespace = ? AND name = ?", (namespace, agent)
).fetchone()
connection.execute("UPDATE oacp_agents SET head = ? WHERE ref = ?", (head + 1, ref))
for n in range(50):
    connection.execute(
        "INSERT INTO oacp_interactions (agent, sequence, id, at_us, crc, body) VALUES (?, ?, ?, 0, 0, ?)",
        (ref, head + 1 + n, f"torn {n}", '{"torn":"' + "x" * 10000 + '"}'),
    )
os.kill(os.getpid(), signal.SIGKILL)
"""


class SQLiteTamper(Tamper):
    """Changes what an oacp-storage database holds, behind the storage's back."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def flip_interaction(self, agent_id: str, sequence: int, *, part: str, namespace: str) -> None:
        column = {"body": "body", "id": "id", "time": "at_us"}[part]
        with self._connection() as connection:
            (found,) = connection.execute(
                f"SELECT {column} FROM oacp_interactions WHERE sequence = ? AND agent = {_AGENT}",
                (sequence, namespace, agent_id),
            ).fetchone()
            changed = found ^ 1 if isinstance(found, int) else _flipped(found)
            connection.execute(
                f"UPDATE oacp_interactions SET {column} = ? WHERE sequence = ? AND agent = {_AGENT}",
                (changed, sequence, namespace, agent_id),
            )

    def flip_state(self, agent_id: str, *, namespace: str) -> None:
        self._flip_document(f"oacp_documents WHERE kind = 'state' AND agent = {_AGENT}", namespace, agent_id)

    def flip_learning_data(self, agent_id: str, key: str, *, namespace: str) -> None:
        place = f"oacp_documents WHERE kind = 'learning' AND agent = {_AGENT} AND key = ?"
        self._flip_document(place, namespace, agent_id, key)

    def flip_system_state(self, key: str, *, namespace: str) -> None:
        self._flip_document("oacp_system WHERE namespace = ? AND key = ?", namespace, key)

    def tear_tail(self, agent_id: str, *, namespace: str) -> None:
        torn = subprocess.run([sys.executable, "-c", _TEAR, self._path, namespace, agent_id], check=False)
        assert torn.returncode == -signal.SIGKILL
        left = [Path(f"{self._path}-{kind}") for kind in ("wal", "journal")]
        assert any(path.exists() and path.stat().st_size for path in left), "nothing was torn"

    def set_schema_version(self, version: int) -> None:
        with self._connection() as connection:
            connection.execute(f"PRAGMA user_version = {version}")

    def _flip_document(self, place: str, *values: str) -> None:
        table, where = place.split(" WHERE ", 1)
        with self._connection() as connection:
            (found,) = connection.execute(f"SELECT body FROM {place}", values).fetchone()
            connection.execute(f"UPDATE {table} SET body = ? WHERE {where}", (_flipped(found), *values))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=30)
        try:
            yield connection
        finally:
            connection.close()


_AGENT = "(SELECT ref FROM oacp_agents WHERE namespace = ? AND name = ?)"


def _flipped(text: str) -> str:
    """The text with the lowest bit of one of its characters changed."""
    at = len(text) // 2
    return text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]
