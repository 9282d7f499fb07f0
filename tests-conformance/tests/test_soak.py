"""``soak`` finds what it is there to find."""

from __future__ import annotations

import sys

import pytest

from oacp_storage_conformance import soak
from unsafe_log import FileLog, LosesWhatWaits, Reorders, WritesTwice

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the broken backends lock with fcntl")


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("UNSAFE_LOG", str(tmp_path / "log"))


@pytest.mark.asyncio
@pytest.mark.usefixtures("log")
async def test_a_right_backend_passes():
    report = await soak(FileLog, processes=3, tasks=4, seconds=0.7, kill=1, agents=2)
    assert report.acknowledged > 50
    assert report.killed == 1
    assert 0 <= report.unacknowledged <= 4


@pytest.mark.asyncio
@pytest.mark.usefixtures("log")
@pytest.mark.parametrize(
    ("backend", "kill", "message"),
    [
        (LosesWhatWaits, 1, "acknowledged, but not stored"),
        (WritesTwice, 0, "stored more than once"),
        (Reorders, 0, "out of order"),
    ],
)
async def test_a_wrong_backend_is_found(backend, kill, message):
    with pytest.raises(AssertionError, match=message):
        await soak(backend, processes=2, tasks=3, seconds=0.5, kill=kill, agents=2)


@pytest.mark.asyncio
async def test_more_cannot_be_killed_than_there_are():
    with pytest.raises(ValueError, match="cannot kill 3 of 2"):
        await soak(FileLog, processes=2, kill=3)
