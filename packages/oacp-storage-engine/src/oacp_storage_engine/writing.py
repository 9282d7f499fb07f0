"""Writing: the way of every unit through a lane, and what its refusal means for the caller."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from oacp_storage_core import DuplicateIdError, StorageError, VersionConflictError
from oacp_storage_core.arguments import NewInteraction
from oacp_storage_engine.checksum import interaction_crc
from oacp_storage_engine.codec import describe
from oacp_storage_engine.primitives import Append, Applied, Conflict, Duplicate, Unit
from oacp_storage_engine.runtime import Runtime

_new_tuple = tuple.__new__  # makes a named tuple in half the time of its own constructor


class Writing:
    """The part of ``EngineStorage`` that commits units."""

    _coerce: bool

    @abstractmethod
    def _call(self) -> Runtime:
        """The runtime for one call, which holds it from beginning to end (``with self._call() as runtime``)."""

    async def _write(self, runtime: Runtime, unit: Unit, size: int) -> Applied:
        """Commit the unit, whose bodies have ``size`` bytes.

        Raises ``VersionConflictError`` or ``DuplicateIdError`` when it is refused.
        """
        deadline = runtime.deadline()
        lane = None if unit.agent is None else runtime.free_lane(unit.agent)
        if lane is None:
            lane = await runtime.enter_lane(*unit.slot, deadline)
        outcome = await lane.submit(unit, size, deadline)
        if isinstance(outcome, Applied):
            return outcome
        raise self._refusal(unit, outcome)

    def _refusal(self, unit: Unit, outcome: Conflict | Duplicate) -> StorageError:
        """The error for a unit that was judged and not applied."""
        if isinstance(outcome, Conflict):
            put = unit.puts[outcome.put]
            return VersionConflictError.of(
                describe(unit.agent, put.kind, put.key), put.expected or 0, outcome.actual
            )
        append = unit.appends[outcome.append]
        what = f"interaction id {append.id!r} of agent {unit.agent!r}"
        if unit.turn:
            return DuplicateIdError(
                f"{what} exists already, but not the whole turn with the same payloads; nothing was written: "
                "repeat a turn exactly as it was, or give its interactions new ids"
            )
        if append.sequence is not None:
            return DuplicateIdError(
                f"{what} cannot be imported at sequence {append.sequence}: that place or id is taken by "
                "something else; nothing was written: import into an empty agent"
            )
        where = f"is sequence {outcome.sequence}" if outcome.sequence else "occurs earlier in this call"
        return DuplicateIdError(f"{what} {where}, with another payload; nothing was written: use a new id")


def appends_of(agent: str, new: Sequence[NewInteraction]) -> tuple[tuple[Append, ...], int]:
    """What there is to append, with its checksums; and the bytes of all bodies."""
    appends = tuple(
        [
            _new_tuple(
                Append,
                (name, given, at_us, body, interaction_crc(agent, name, at_us, body), sequence or None),
            )
            for name, given, at_us, body, sequence in new
        ]
    )
    return appends, sum([len(one.body) for one in new])
