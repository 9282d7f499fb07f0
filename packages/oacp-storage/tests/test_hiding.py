"""The cause of a failure is shown, in the driver's words, and never with what may be a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from oacp_command import run
from oacp_storage.exits import Status
from oacp_storage.failures import describe
from oacp_storage.hiding import secrets_in_reach
from oacp_storage_core import StorageConfigError, StorageError

PASSWORD = "s3same/0pen?"
CONFIG = """
default = "main"
[storage.main]
backend = "acme"
host = "db.internal"
user = "agents"
passwort = "${SECRET}"           # misspelt, so no name that is known
pin = 4711
wrappers = [{ name = "encrypt", key = "0123abcd" }]
headers = { Authorization = "Bearer x.y.z", host = "inner" }
spare = ["one-more-secret"]
[storage.url]
url = "acme://agents:${SECRET}@db.internal/db?sslmode=off&pasword=mis%20spelt"
[storage.string]
backend = "acme"
connection_string = "host=db.internal user=agents password='quo ted'"
[storage.broken]
url = "acme://agents:${NOT_SET}@h"
"""


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("oacp.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", PASSWORD)
    monkeypatch.delenv("OACP_STORAGE_URI", raising=False)


def told(cause: Exception, *tokens: str) -> str:
    error = StorageError("opening ended in DriverError; the cause tells more")
    error.__cause__ = cause
    message, status = describe(error, tokens)
    assert status == Status.FAILED
    return message


def test_the_first_line_of_the_cause_is_shown() -> None:
    message = told(RuntimeError("\n  no such table: agents, at db.internal \nHINT: look"))
    assert message == "opening ended in DriverError: no such table: agents, at db.internal"
    assert told(RuntimeError("")) == "opening ended in DriverError"
    assert told(RuntimeError("x" * 1000)).endswith("x ...")


def test_the_cause_below_errors_of_ours() -> None:
    below = StorageError("opening ended in DriverError; the cause tells more")
    below.__cause__ = RuntimeError("disk full")
    above = StorageConfigError(f"[storage.main]: {below}")
    above.__cause__ = below
    assert describe(above, []) == ("[storage.main]: opening ended in DriverError: disk full", Status.USAGE)


@pytest.mark.parametrize(
    "secret",
    [
        PASSWORD,
        "4711",
        "0123abcd",
        "Bearer x.y.z",
        "inner",
        "one-more-secret",
        "mis spelt",
        "mis%20spelt",
        "quo ted",
    ],
)
def test_whatever_may_be_a_secret_is_masked(secret: str) -> None:
    message = told(RuntimeError(f"cannot log in with {secret!r} ({secret})"))
    assert secret not in message
    assert PASSWORD not in message


@pytest.mark.parametrize("piece", ["s3same", "0PEN", "port could not be cast: 's3same'"])
def test_a_driver_that_took_a_password_apart_is_not_repeated(piece: str) -> None:
    message = told(ValueError(f"bad host {piece}"))
    assert message == "opening ended in DriverError (its words are not shown, a password may be among them)"


@pytest.mark.parametrize(
    ("tokens", "env"),
    [
        (["agents", "acme://u:open%20says@h"], ""),
        (["agents", "--storage=acme://open%20says@h"], ""),
        (["agents"], "acme://u:open%20says@h"),
        (["agents"], "acme://h?api_key=open%20says"),
        (["agents"], "acme://h?whatever=open%20says"),
    ],
)
def test_urls_of_the_command_line_and_the_environment(
    tokens: list[str], env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OACP_STORAGE_URI", env)
    message = told(RuntimeError("wrong login: open says, open%20says, OPEN SAYS"), *tokens)
    assert "wrong login: ***, ***, ***" in message


def test_a_short_password_masks_no_letters() -> None:
    secrets = secrets_in_reach(["acme://u:ab@h", "sqlite:///me@work.db"])
    assert secrets.one_line("table cab of me@work.db") == "table cab of me@work.db"
    assert secrets.one_line("user 'ab'") == "user '***'"
    assert secrets_in_reach(["acme://u:!@h"]).one_line("no! such table") is None


def test_an_unexpected_failure_is_masked_too() -> None:
    message, _ = describe(RuntimeError(f"no {PASSWORD}"), [])
    assert message.startswith("unexpected RuntimeError: no ***; this is a defect")


DRIVER = """
from oacp_storage_core import StorageError, StorageBackend
class Acme(StorageBackend):
    def __init__(self, **options): self.given = options
    store_interaction = get_interactions = store_agent_state = get_agent_state = None
    async def open(self):
        try:
            raise RuntimeError(f"refused: {self.given}")
        except RuntimeError as exc:
            raise StorageError("opening ended in RuntimeError; the cause tells more") from exc
"""


@pytest.mark.parametrize("traceback", ["", "1"])
def test_on_the_command_line(traceback: str, tmp_path: Path) -> None:
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text("[oacp_storage.backends]\nacme = acme_driver:Acme\n")
    tmp_path.joinpath("acme_driver.py").write_text(DRIVER)
    tmp_path.joinpath("oacp.toml").write_text(CONFIG.replace("wrappers", "wrapped"))
    env = {"PYTHONPATH": str(tmp_path), "SECRET": PASSWORD, "OACP_STORAGE_TRACEBACK": traceback}
    ran = run("health", cwd=tmp_path, env=env)
    assert (ran.status, ran.err) == (1, "")
    assert "error      opening ended in RuntimeError: refused: {" in ran.out
    assert "s3same" not in ran.out
    ran = run("agents", cwd=tmp_path, env=env)
    assert ran.status == 3
    assert "opening ended in RuntimeError: refused: {" in ran.err
    assert "db.internal" in ran.err
    assert ("Traceback" in ran.err) is bool(traceback)
    for secret in (PASSWORD, "s3same", "0123abcd", "x.y.z", "one-more-secret"):
        assert secret not in ran.err
