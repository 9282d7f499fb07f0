"""The error tree: every failure of a storage is a ``StorageError`` that says what the caller can do.

Drivers' own exceptions never leave a backend; they are the ``__cause__`` of one of these. No message
carries a password. All errors survive pickling, so that they can cross process boundaries.
"""

from __future__ import annotations

from typing import Any, Self


class StorageError(Exception):
    """Base of everything a storage raises on its own account."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[StorageError], args: tuple[Any, ...], state: dict[str, Any]) -> StorageError:
    """Unpickle an error without calling its ``__init__``, whose keywords pickle does not know."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class BackendLookupError(StorageError):
    """A backend could not be had by its name."""


class BackendNotFoundError(BackendLookupError):
    """No installed distribution offers a backend of this name."""


class BackendLoadError(BackendLookupError):
    """A distribution offers the backend, but it cannot be imported or is not one."""


class BackendConflictError(BackendLookupError):
    """Two distributions claim the same backend name."""


class StorageConfigError(StorageError):
    """A configuration, an option or a server setting does not allow the storage to be used."""


class StorageUsageError(StorageError):
    """The storage was used in a way that cannot work, for example from two running loops at once."""


class StorageClosedError(StorageUsageError):
    """The storage was used after ``close()``."""


class InvalidKeyError(StorageError, ValueError):
    """An agent id, key or interaction id is not 1 to 512 bytes of UTF-8 without NUL."""


class InvalidPayloadError(StorageError, ValueError):
    """A payload is not exact JSON; the message names the place, as in ``$.meta.when``."""


class PayloadTooLargeError(InvalidPayloadError):
    """A payload, or all payloads of one call together, are over the limit."""


class DuplicateIdError(StorageError):
    """The interaction id is taken by an interaction with another payload, or only a part of a turn exists."""


class VersionConflictError(StorageError):
    """``expected_version`` is not the document's version; nothing was written.

    ``expected`` and ``actual`` are versions; ``actual`` is 0 where there is no document.
    """

    expected: int
    actual: int

    def __init__(self, message: str, *, expected: int, actual: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual

    @classmethod
    def of(cls, document: str, expected: int, actual: int) -> Self:
        """The error for a document described as in ``state of agent 'a'``."""
        there = f"it is at version {actual}" if actual else "there is none"
        wanted = f"version {expected}" if expected else "no document"
        return cls(
            f"{document}: expected {wanted}, but {there}; nothing was written: read it again and repeat "
            "the change (or use the update method, which does so)",
            expected=expected,
            actual=actual,
        )


class UnsupportedOperationError(StorageError):
    """The storage does not declare the capability that the method belongs to."""


class StorageConnectionError(StorageError):
    """The server cannot be reached, or refuses the credentials; nothing was written."""


class StorageTimeoutError(StorageError, TimeoutError):
    """The call was not done in time, and certainly wrote nothing."""


class OutcomeUnknownError(StorageError):
    """The call may or may not have been applied; repeating it with the same ids is safe."""


class CorruptDataError(StorageError):
    """A stored record is not as it was written; it is never returned as data.

    Attributes: ``agent_id`` and ``sequence`` for an interaction, ``agent_id`` and ``key`` for a document.
    """

    agent_id: str | None
    sequence: int | None
    key: str | None

    def __init__(
        self,
        message: str,
        *,
        agent_id: str | None = None,
        sequence: int | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(message)
        self.agent_id = agent_id
        self.sequence = sequence
        self.key = key


class SchemaVersionError(StorageError):
    """The store is of a schema version that this release does not know or may not touch."""
