"""Real agent traffic, in and out of SQLite and files: nothing lost, changed or doubled, in bounded memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from oacp_command import PROGRAM, environment, run

TRAFFIC = Path(__file__).resolve().parents[4] / "shared" / "data" / "interactions.jsonl.gz"
LINES = 63_762
AGENTS = 1_322

pytestmark = [
    pytest.mark.skipif(not TRAFFIC.exists(), reason=f"the real traffic is not here: {TRAFFIC}"),
    pytest.mark.timeout(900),
]

BACKENDS = ["sqlite", "file"]

# Runs the command and reports the most memory it had. The system's own count (ru_maxrss) begins with what the
# parent had; the high-water mark of /proc begins anew with the program.
MEASURED = """
import re, resource, sys
from pathlib import Path
from oacp_storage.cli import main
status = main(sys.argv[1:])
try:
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(peak, file=sys.stderr)
sys.exit(status)
"""


class Measured(NamedTuple):
    """A run of the command, with the most memory it had, in bytes."""

    out: str
    peak: int


def measured(*arguments: str | Path) -> Measured:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, arguments)],
        capture_output=True,
        env=environment(),
        timeout=600,
        check=True,
    )
    return Measured(done.stdout.decode(), int(done.stderr.decode().splitlines()[-1]))


def store_url(backend: str, directory: Path) -> str:
    return f"sqlite:///{directory}/traffic.db" if backend == "sqlite" else f"file://{directory}/traffic"


class Imported(NamedTuple):
    """The traffic in a store, and exported from it."""

    url: str
    importing: Measured
    again: Measured
    exporting: Measured
    export: Path


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Imported]:
    made = {}
    for backend in BACKENDS:
        directory = tmp_path_factory.mktemp(backend)
        url = store_url(backend, directory)
        export = directory / "export.jsonl"
        made[backend] = Imported(
            url,
            measured("import", TRAFFIC, "--to", url),
            measured("import", TRAFFIC, "--to", url),
            measured("export", url, export),
            export,
        )
    return made


def by_agent(lines: list[str]) -> dict[str, list[str]]:
    """The interactions of each agent in their order, as canonical text."""
    found = defaultdict(list)
    for line in lines:
        fields = json.loads(line)
        found[fields["agent_id"]].append(json.dumps(fields["interaction"]))
    return found


def test_file_sqlite_and_original_are_equal_record_by_record(imported: dict[str, Imported]) -> None:
    with gzip.open(TRAFFIC, "rt", encoding="utf-8") as file:
        original = by_agent(list(file))
    assert len(original) == AGENTS
    assert sum(map(len, original.values())) == LINES
    exports = {backend: one.export.read_text(encoding="utf-8") for backend, one in imported.items()}
    assert exports["sqlite"] == exports["file"]
    exported = [line for line in exports["sqlite"].split("\n") if line]
    assert len(exported) == LINES
    assert by_agent(exported) == original
    assert list(by_agent(exported)) == sorted(original)
    assert len({(fields["agent_id"], fields["id"]) for fields in map(json.loads, exported)}) == LINES


def test_the_stores_themselves_compare_equal(imported: dict[str, Imported]) -> None:
    compared = run("compare", imported["sqlite"].url, imported["file"].url)
    assert compared.status == 0
    assert (
        compared.out == f"{LINES:,} interactions and 0 documents of {AGENTS:,} agents compared: all equal\n"
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_counts_and_importing_again_adds_nothing(backend: str, imported: dict[str, Imported]) -> None:
    assert f"{LINES:,} added, 0 already there, 0 malformed" in imported[backend].importing.out
    assert f"0 added, {LINES:,} already there, 0 malformed" in imported[backend].again.out


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_stays_small(backend: str, imported: dict[str, Imported]) -> None:
    one = imported[backend]
    peaks = {name: getattr(one, name).peak // 2**20 for name in ("importing", "again", "exporting")}
    print(backend, peaks, "MB")
    assert max(peaks.values()) < 150


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_in_the_middle_and_run_again(
    backend: str, imported: dict[str, Imported], tmp_path: Path
) -> None:
    url = store_url(backend, tmp_path)
    with subprocess.Popen(
        [*PROGRAM, "import", TRAFFIC, "--to", url], stdout=subprocess.DEVNULL, env=environment()
    ) as process:
        while _size(tmp_path) < 8_000_000:
            assert process.poll() is None, "it was done before it could be killed"
            time.sleep(0.005)
        process.kill()
        assert process.wait(30) == -9
    checked = run("verify", url)
    assert (checked.err, checked.out) == ("", "no damage found\n")
    again = run("import", TRAFFIC, "--to", url)
    assert again.status == 0
    there = int(again.out.split(" already there")[0].split()[-1].replace(",", ""))
    print(there, "were there")
    assert 0 < there < LINES
    assert f"{LINES - there:,} added" in again.out
    export = tmp_path / "export.jsonl"
    assert run("export", url, export).status == 0
    assert export.read_bytes() == imported[backend].export.read_bytes()


def _size(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # replaced while we look
            continue
    return total


def test_copied_from_sqlite_to_file_and_back(imported: dict[str, Imported], tmp_path: Path) -> None:
    there, back = f"file://{tmp_path}/there", f"sqlite:///{tmp_path}/back.db"
    for source, target in (imported["sqlite"].url, there), (there, back):
        copied = run("copy", source, target)
        assert copied.status == 0, copied.err
        assert f"{LINES:,} interactions" in copied.out
    assert run("compare", imported["sqlite"].url, back).status == 0
