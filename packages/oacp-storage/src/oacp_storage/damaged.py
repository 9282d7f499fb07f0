"""Reading past damage: what can be read comes, what cannot is told of, and nothing is left out in silence."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from oacp_storage_core import CorruptDataError, Document

_T = TypeVar("_T")

SHOWN = 20
"""How many damaged records are kept with their reasons; all are counted."""

Tell = Callable[[CorruptDataError], None]
"""Is told of each damaged record. Where it raises, reading ends there."""

_DOCUMENTS_AT_ONCE = 20


@dataclass
class Damages:
    """How many records could not be read, and ``reasons`` for the first of them. An instance is a ``Tell``."""

    count: int = 0
    reasons: list[str] = field(default_factory=list)

    def __call__(self, error: CorruptDataError) -> None:
        """Take note of a damaged record."""
        self.note(str(error))

    def note(self, reason: str, count: int = 1) -> None:
        """Take note of records that are left out for this reason."""
        self.count += count
        if len(self.reasons) < SHOWN:
            self.reasons.append(reason)


def stop(error: CorruptDataError) -> None:
    """A ``Tell`` for which the first damaged record is the end."""
    raise error


async def undamaged(records: AsyncIterator[_T], tell: Tell) -> AsyncIterator[_T]:
    """The records that can be read."""
    last = None
    while True:
        try:
            record = await anext(records)
        except StopAsyncIteration:
            return
        except CorruptDataError as exc:
            if str(exc) == last:  # the iteration does not get past it
                raise
            last = str(exc)
            tell(exc)
        else:
            last = None
            yield record


class _Page(Protocol):
    """A list method with all its arguments but these."""

    def __call__(self, *, after: str | None, limit: int) -> Awaitable[list[Document]]: ...


async def undamaged_documents(page: _Page, tell: Tell) -> AsyncGenerator[Document, None]:
    """The documents of a list method that can be read, in its order.

    A list with a damaged document in it is an error as a whole, so there they are read one by one.
    """
    after: str | None = None
    limit = _DOCUMENTS_AT_ONCE
    while True:
        try:
            found = await page(after=after, limit=limit)
        except CorruptDataError as exc:
            if limit > 1:
                limit = 1
                continue
            if exc.key is None or (after is not None and exc.key <= after):  # there is no way past it
                raise
            tell(exc)
            after, limit = exc.key, _DOCUMENTS_AT_ONCE
            continue
        if not found:
            return
        for document in found:
            yield document
        after = found[-1].key


async def readable(document: Awaitable[_T], tell: Tell) -> _T | None:
    """The document, or None when it is damaged."""
    try:
        return await document
    except CorruptDataError as exc:
        tell(exc)
        return None
