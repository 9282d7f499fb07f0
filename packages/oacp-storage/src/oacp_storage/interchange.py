"""The interchange format: one interaction a line, ``{"agent_id", "interaction", "id", "timestamp"}``.

Id and timestamp may be left out. A line without an id is given one that depends on nothing but the line: its
number, its agent and its interaction. So the same file can be imported again, or for the rest, and adds nothing
twice, whatever else has been stored, and without a list of what has been seen.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec

from oacp_storage.lines import MAX_LINE_BYTES, Line
from oacp_storage_core import Interaction, InvalidKeyError, InvalidPayloadError
from oacp_storage_core.names import check_name
from oacp_storage_core.payload import MAX_DEPTH, MAX_INT_DIGITS, MAX_PAYLOAD_BYTES, decode, encode_body

_FIELDS = frozenset({"agent_id", "interaction", "id", "timestamp"})


_INFINITE = "the number is infinite, or beyond 1.8e308, which is the largest"
_NUMBERS = {
    "nan is not JSON": "NaN is not JSON; write null",
    "inf is not JSON": _INFINITE,
    "-inf is not JSON": _INFINITE,
}


class MalformedLineError(ValueError):
    """A line that is not an interaction; the message says what is wrong with it."""


def parse_line(line: Line, default_time: datetime) -> Interaction:
    """The interaction of a line, with sequence 0. ``default_time`` is for lines without a timestamp.

    Raises ``MalformedLineError``.
    """
    if line.text is None:
        raise MalformedLineError(
            f"longer than {MAX_LINE_BYTES:,} bytes; an interaction has at most {MAX_PAYLOAD_BYTES:,}"
        )
    fields = _fields(line.text)
    if unknown := fields.keys() - _FIELDS:
        raise MalformedLineError(
            f"unknown field {min(unknown)!r}; a line has {', '.join(sorted(_FIELDS))}, and everything else belongs "
            "into the interaction"
        )
    for name in ("agent_id", "interaction"):
        if name not in fields:
            raise MalformedLineError(f"{name} is missing")
    for name, kind in (("agent_id", str), ("interaction", dict), ("id", str)):
        value = fields.get(name)
        if not isinstance(value, kind) and not (name == "id" and value is None):
            raise MalformedLineError(f"{name} must be {_kind(kind())}, not {_kind(value)}")
    try:
        agent_id = check_name(fields["agent_id"])
        interaction = fields["interaction"]
        body = encode_body(interaction, at="interaction")
        given = fields.get("id")
        interaction_id = (
            _derived_id(line.number, agent_id, body) if given is None else check_name(given, "id")
        )
    except (InvalidKeyError, InvalidPayloadError) as exc:
        raise MalformedLineError(_in_words_of_json(str(exc))) from exc
    stamp = fields.get("timestamp")
    return Interaction(
        agent_id, interaction_id, 0, default_time if stamp is None else _moment(stamp), interaction
    )


def _fields(text: bytes) -> dict[str, Any]:
    """The object of a line; what cannot be stored exactly is found when its interaction is encoded."""
    try:
        fields = decode(text)
    except (ValueError, RecursionError):
        # The standard library says better what is wrong, and reads NaN and lone surrogates, which are then named.
        return _slowly(text)
    # A decoder takes the last of two equal keys without a word. Then quotation marks are missing, if no escape
    # stands for one; to look at every object in Python takes several times as long.
    if b"\\u" in text or text.count(b'"') != msgspec.json.encode(fields).count(b'"'):
        return _slowly(text)
    return fields


def _slowly(text: bytes) -> dict[str, Any]:
    """The object of a line, with every fault named."""
    try:
        fields = json.loads(text.decode(), object_pairs_hook=_with_different_keys)
    except MalformedLineError:
        raise
    except UnicodeDecodeError as exc:
        raise MalformedLineError(f"not UTF-8 text: {exc.reason} at byte {exc.start}") from exc
    except json.JSONDecodeError as exc:
        raise MalformedLineError(f"not JSON: {exc.msg} at character {exc.pos}") from exc
    except ValueError as exc:
        raise MalformedLineError(f"an integer has more than {MAX_INT_DIGITS:,} digits") from exc
    except RecursionError as exc:
        raise MalformedLineError(f"nested too deeply; at most {MAX_DEPTH} levels are allowed") from exc
    if not isinstance(fields, dict):
        raise MalformedLineError("not a JSON object, which begins with { and ends with }")
    return fields


def _with_different_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise MalformedLineError(
            f"the key {twice!r:.80} stands twice in one object; which of the two is meant?"
        )
    return made


def _in_words_of_json(reason: str) -> str:
    """A refusal of the payload rules, whose advice is for programs, for somebody who has a file."""
    fault, _, _ = reason.partition("; use ")
    place, colon, what = fault.rpartition(": ")
    return f"{place}{colon}{_NUMBERS.get(what, what)}"


def _kind(value: Any) -> str:
    """What a decoded value is in the words of JSON."""
    match value:
        case None | bool():
            return json.dumps(value)
        case str():
            return "a string"
        case list():
            return "an array"
        case dict():
            return "an object"
        case _:
            return "a number"


def format_line(interaction: Interaction) -> bytes:
    """The line of an interaction, with its end."""
    return (
        msgspec.json.encode(
            {
                "agent_id": interaction.agent_id,
                "id": interaction.id,
                "timestamp": interaction.timestamp.isoformat(),
                "interaction": interaction.data,
            }
        )
        + b"\n"
    )


def _derived_id(number: int, agent_id: str, body: bytes) -> str:
    """``line-17-`` and 128 bits over number, agent and canonical interaction."""
    digest = blake2b(digest_size=16)
    for part in (str(number).encode(), agent_id.encode(), body):
        digest.update(len(part).to_bytes(8, "big") + part)
    return f"line-{number}-{digest.hexdigest()}"


def _moment(stamp: Any) -> datetime:
    if not isinstance(stamp, str):
        raise MalformedLineError(f"timestamp must be a string with an ISO 8601 time, not {_kind(stamp)}")
    try:
        moment = datetime.fromisoformat(stamp)
        if moment.tzinfo is None:
            raise MalformedLineError(
                f"timestamp {stamp!r} has no time zone; add Z or an offset such as +02:00"
            )
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise MalformedLineError(f"timestamp {stamp!r} is out of range") from exc
    except MalformedLineError:
        raise
    except ValueError as exc:
        raise MalformedLineError(
            f"timestamp {stamp!r} is not ISO 8601, as in 2025-01-31T12:00:00+00:00"
        ) from exc
