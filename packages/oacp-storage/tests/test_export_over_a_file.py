"""``oacp-storage export`` over a file that is there: an export is replaced, anything else only when told to."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from oacp_command import PROGRAM, call, environment, run

Capture = pytest.CaptureFixture[str]
LINE = b'{"agent_id": "alice", "interaction": {"n": 1}}\n'


def test_the_store_that_it_reads_stays(tmp_path: Path) -> None:
    database = tmp_path / "agents.db"
    assert run("import", "-", "--to", f"sqlite:///{database}", stdin=LINE).status == 0
    before = database.read_bytes()
    ran = run("export", f"sqlite:///{database}", database)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"oacp-storage: {database} is there already and is no export")
    assert ran.err.count("\n") == 1
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"a letter\n", b"\x00\xff\xfe", b'{"a": 1}\n', b"\x1f\x8b broken", b"[]"]
)
def test_another_file_stays_unless_forced(
    content: bytes, store: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    ran = call(capsys, "export", store, path)
    assert (ran.status, "--force" in ran.err) == (2, True)
    assert path.read_bytes() == content
    assert call(capsys, "export", store, path, "--force").status == 0
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "content", [b"", LINE, b"\n" + LINE, gzip.compress(LINE, mtime=0)], ids=["empty", "line", "blank", "gzip"]
)
def test_an_export_is_replaced(content: bytes, store: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert call(capsys, "export", store, path).status == 0
    assert path.read_bytes() == b""


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="no /dev/stdout here")  # noqa: PTH110 - a link
def test_into_a_pipe_by_the_name_of_stdout(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/agents.db"
    assert run("import", "-", "--to", url, stdin=LINE).status == 0
    done = subprocess.run(
        [*PROGRAM, "export", url, "/dev/stdout"],
        capture_output=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b'"agent_id":"alice"' in done.stdout
    kept = tmp_path / "kept"
    kept.write_bytes(LINE)
    with kept.open("ab") as file:
        subprocess.run([*PROGRAM, "export", url, "/dev/stdout"], stdout=file, env=environment(), check=True)
    assert kept.read_bytes() == LINE + done.stdout
