"""Arguments of the interface's methods, checked in one place so that every backend refuses alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from oacp_storage_core.errors import PayloadTooLargeError
from oacp_storage_core.ids import new_id, new_ids
from oacp_storage_core.names import check_name, check_prefix
from oacp_storage_core.payload import (
    MAX_CALL_BYTES,
    MAX_CALL_INTERACTIONS,
    decode,
    encode,
    encode_body,
    encode_plain,
)
from oacp_storage_core.records import Document, Interaction
from oacp_storage_core.times import now_us, to_us
from oacp_storage_core.where import Predicate, compile_where

_new_tuple = tuple.__new__  # makes a named tuple in half the time of its own constructor

MAX_NUMBER = 2**53 - 1
"""The greatest sequence or version: more than any log will ever hold, and exact in every store's numbers."""


class NewInteraction(NamedTuple):
    """An interaction that passed all checks; ``given`` tells whether its id was given.

    ``sequence`` is 0 where the store assigns it, and the given one in an import.
    """

    id: str
    given: bool
    at_us: int
    body: bytes
    sequence: int = 0

    @property
    def data(self) -> dict[str, Any]:
        """The payload, each time a fresh copy."""
        return decode(self.body)


class NewDocument(NamedTuple):
    """A document of an import that passed all checks."""

    key: str
    version: int
    at_us: int
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        """The payload, each time a fresh copy."""
        return decode(self.body)


class HistoryQuery(NamedTuple):
    """The arguments of ``iter_interactions``, checked. ``before`` and ``limit`` are None for no bound."""

    after: int
    before: int | None
    since_us: int | None
    until_us: int | None
    where: Predicate | None
    reverse: bool
    limit: int | None

    @property
    def filtered(self) -> bool:
        """Whether anything but sequence bounds decides about a record."""
        return self.where is not None or self.since_us is not None or self.until_us is not None

    def admits(self, at_us: int, data: dict[str, Any]) -> bool:
        """Whether time and ``where`` let a record of these bounds pass."""
        if self.since_us is not None and at_us < self.since_us:
            return False
        if self.until_us is not None and at_us >= self.until_us:
            return False
        return self.where is None or self.where(data)


class RetentionPick(NamedTuple):
    """What ``delete_interactions`` removes: an interaction goes when every given criterion holds."""

    ids: tuple[str, ...] | None
    before_us: int | None
    keep_last: int | None


def check_limit(limit: object, what: str = "limit") -> int:
    """A count or bound of zero or more; ``ValueError`` for a negative one, ``TypeError`` for what is no int.

    What is over ``MAX_NUMBER`` becomes that: it makes no difference, and stores need not cope with more.
    """
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"{what} must be an int, not {type(limit).__name__}")
    if limit < 0:
        raise ValueError(f"{what} must not be negative, it is {limit}")
    return min(int(limit), MAX_NUMBER)


def check_expected_version(expected: object) -> int | None:
    """None, or a version of zero or more."""
    return None if expected is None else check_limit(expected, "expected_version")


def check_body(payload: object, coerce: bool, at: str = "$") -> bytes:
    """``payload.encode_body`` with the storage's ``coerce`` setting applied before."""
    return encode_body(_coerced(payload, at) if coerce else payload, at=at)


def check_payload(payload: object, coerce: bool, at: str = "$") -> tuple[bytes, dict[str, Any]]:
    """``payload.encode`` with the storage's ``coerce`` setting applied before."""
    return encode(_coerced(payload, at) if coerce else payload, at=at)


def check_list(prefix: object, after: object, limit: object) -> tuple[str, str | None, int]:
    """The arguments of the ``list_...`` methods."""
    return (
        check_prefix(prefix),
        None if after is None else check_prefix(after, "after"),
        check_limit(limit),
    )


def check_history(
    after: int = 0,
    before: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    where: Mapping[str, Any] | None = None,
    reverse: bool = False,
    limit: int | None = None,
) -> HistoryQuery:
    """The checked arguments of ``iter_interactions`` and ``count_interactions``."""
    return HistoryQuery(
        check_limit(after, "after"),
        None if before is None else check_limit(before, "before"),
        None if since is None else to_us(since, "since"),
        None if until is None else to_us(until, "until"),
        compile_where(where),
        bool(reverse),
        None if limit is None else check_limit(limit),
    )


def check_retention(
    agent_id: str | None,
    ids: Iterable[str] | None,
    before: datetime | None,
    keep_last: int | None,
) -> RetentionPick:
    """The checked criteria of ``delete_interactions``; ``ValueError`` for none, or ids without agent."""
    if ids is None and before is None and keep_last is None:
        raise ValueError(
            "delete_interactions needs ids, before or keep_last: without a criterion nothing is deleted"
        )
    if ids is not None and agent_id is None:
        raise ValueError("delete_interactions with ids needs the agent_id that they belong to")
    if isinstance(ids, str):
        raise TypeError("ids must be a list of interaction ids, not one str")
    return RetentionPick(
        None if ids is None else tuple(check_name(one, "interaction id") for one in ids),
        None if before is None else to_us(before, "before"),
        None if keep_last is None else check_limit(keep_last, "keep_last"),
    )


def new_interaction(
    interaction: object,
    *,
    coerce: bool,
    interaction_id: str | None = None,
    timestamp: datetime | None = None,
) -> NewInteraction:
    """One interaction on its way in: payload, id and time checked, id and time made where not given."""
    body = check_body(interaction, coerce)
    return NewInteraction(
        new_id() if interaction_id is None else check_name(interaction_id, "interaction id"),
        interaction_id is not None,
        now_us() if timestamp is None else to_us(timestamp),
        body,
    )


def new_interactions(
    agent_id: str,
    interactions: Sequence[Mapping[str, Any] | Interaction],
    *,
    coerce: bool,
    imported: bool = False,
) -> list[NewInteraction]:
    """The interactions of one call, within its limits. ``imported`` keeps given sequences (1 or more).

    Those that are given no time have one and the same.
    """
    now = now_us()
    if not imported and (bodies := _plain_bodies(interactions)) is not None:
        names = new_ids(len(bodies))
        return [
            _new_tuple(NewInteraction, (name, False, now, body, 0))
            for name, body in zip(names, bodies, strict=True)
        ]
    if isinstance(interactions, Mapping | str | bytes | Interaction):
        raise TypeError(
            f"interactions must be a list of dicts or Interaction records, not {type(interactions).__name__}"
        )
    prepared: list[NewInteraction] = []
    total = 0
    for i, item in enumerate(interactions):
        if i == MAX_CALL_INTERACTIONS:
            raise PayloadTooLargeError(
                f"more than {MAX_CALL_INTERACTIONS:,} interactions in one call; split it into several"
            )
        at = f"$[{i}]"
        if isinstance(item, Interaction):
            if item.agent_id != agent_id:
                raise ValueError(
                    f"{at}: the Interaction is of agent {item.agent_id!r}, the call is for {agent_id!r}"
                )
            body = check_body(item.data, coerce, at)
            one = NewInteraction(
                check_name(item.id, "interaction id"),
                True,
                to_us(item.timestamp),
                body,
                _given_number(item.sequence, f"{at}: the sequence of an imported Interaction")
                if imported
                else 0,
            )
        elif imported:
            raise TypeError(f"{at}: an import takes Interaction records, not {type(item).__name__}")
        else:
            one = NewInteraction(new_id(), False, now, check_body(item, coerce, at))
        prepared.append(one)
        total += len(one.body)
        check_call_size(total)
    return prepared


def _plain_bodies(interactions: Iterable[object]) -> list[bytes] | None:
    """The bodies of nearly all that is ever stored: plain dicts within the limits. None for anything else."""
    if type(interactions) is not list and type(interactions) is not tuple:
        return None
    if len(interactions) > MAX_CALL_INTERACTIONS:
        return None
    bodies: list[bytes] = []
    room = MAX_CALL_BYTES
    for item in interactions:
        body = encode_plain(item)
        if body is None or len(body) > room:
            return None
        room -= len(body)
        bodies.append(body)
    return bodies


def new_document(document: object, *, coerce: bool, is_state: bool = False) -> NewDocument:
    """One document of an import: key, version, time and payload checked. A state's key is ``""``."""
    if not isinstance(document, Document):
        raise TypeError(f"an import takes Document records, not {type(document).__name__}")
    body = check_body(document.data, coerce)
    return NewDocument(
        "" if is_state else check_name(document.key, "key"),
        _given_number(document.version, "the version of an imported Document"),
        to_us(document.updated_at, "updated_at"),
        body,
    )


def _given_number(number: object, what: str) -> int:
    if check_limit(number, what) != number or number == 0:
        raise ValueError(f"{what} must be 1 to {MAX_NUMBER}, it is {number}")
    return int(number)


def check_call_size(total: int) -> None:
    """``PayloadTooLargeError`` when all payloads of one call are over the limit together."""
    if total > MAX_CALL_BYTES:
        raise PayloadTooLargeError(
            f"over {MAX_CALL_BYTES:,} bytes of JSON in one call; split it into several"
        )


def _coerced(payload: object, at: str) -> object:
    from oacp_storage_core.coerce import coerce_payload

    return coerce_payload(payload, at=at)
