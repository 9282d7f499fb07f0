"""The error tree: its shape, and that every error crosses process boundaries whole."""

from __future__ import annotations

import copy
import inspect
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from oacp_storage_core import errors
from oacp_storage_core.errors import CorruptDataError, StorageError, VersionConflictError
from oacp_storage_core.memory_records import Documents

ALL = [
    error for _, error in inspect.getmembers(errors, inspect.isclass) if error.__module__ == errors.__name__
]

TREE = """
StorageError
  BackendLookupError
    BackendConflictError
    BackendLoadError
    BackendNotFoundError
  CorruptDataError
  DuplicateIdError
  InvalidKeyError (ValueError)
  InvalidPayloadError (ValueError)
    PayloadTooLargeError
  OutcomeUnknownError
  SchemaVersionError
  StorageConfigError
  StorageConnectionError
  StorageTimeoutError (TimeoutError)
  StorageUsageError
    StorageClosedError
  UnsupportedOperationError
  VersionConflictError
"""


def make(error: type[StorageError]) -> StorageError:
    if issubclass(error, VersionConflictError):
        return error("what; do this", expected=1, actual=2)
    if issubclass(error, CorruptDataError):
        return error("what; do this", agent_id="a", sequence=3, key="k")
    return error("what; do this")


def test_the_tree_is_that_of_the_contract() -> None:
    def lines(error: type, indent: int) -> list[str]:
        others = [base.__name__ for base in error.__bases__ if not issubclass(base, StorageError)]
        builtin = "" if error is StorageError or not others else f" ({', '.join(others)})"
        below = sorted((one for one in ALL if error in one.__bases__), key=lambda one: one.__name__)
        return [
            "  " * indent + error.__name__ + builtin,
            *(x for one in below for x in lines(one, indent + 1)),
        ]

    assert lines(StorageError, 0) == TREE.split("\n")[1:-1]


@pytest.mark.parametrize("error", ALL)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_survives_pickling(error: type[StorageError], protocol: int) -> None:
    original = make(error)
    original.add_note("a note")
    restored = pickle.loads(pickle.dumps(original, protocol))
    assert type(restored) is error
    assert str(restored) == "what; do this"
    assert restored.args == original.args
    assert vars(restored) == vars(original)
    assert restored.__notes__ == ["a note"]


@pytest.mark.parametrize("error", ALL)
def test_survives_copying(error: type[StorageError]) -> None:
    for copied in (copy.copy(make(error)), copy.deepcopy(make(error))):
        assert type(copied) is error
        assert vars(copied) == vars(make(error))
        assert str(copied) == "what; do this"


def test_crosses_process_boundaries() -> None:
    refuse = Documents("agent_state", "a").expect
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(VersionConflictError, match="state of agent 'a'") as caught,
    ):
        pool.submit(refuse, "", 5).result()
    assert (caught.value.expected, caught.value.actual) == (5, 0)


@pytest.mark.parametrize(
    ("expected", "actual", "message"),
    [
        (3, 5, "expected version 3, but it is at version 5"),
        (3, 0, "expected version 3, but there is none"),
        (0, 5, "expected no document, but it is at version 5"),
    ],
)
def test_a_version_conflict_says_what_was_found(expected: int, actual: int, message: str) -> None:
    error = VersionConflictError.of("state of agent 'a'", expected, actual)
    assert str(error).startswith(f"state of agent 'a': {message}; nothing was written: ")
    assert (error.expected, error.actual) == (expected, actual)


def test_damage_says_where() -> None:
    error = make(CorruptDataError)
    assert isinstance(error, CorruptDataError)
    assert (error.agent_id, error.sequence, error.key) == ("a", 3, "k")
    bare = CorruptDataError("what")
    assert (bare.agent_id, bare.sequence, bare.key) == (None, None, None)
