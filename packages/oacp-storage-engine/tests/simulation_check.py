"""What must hold of every run of the simulation, whatever went wrong in it.

The order in which the store applied things is known. A model of the contract, written without the engine's own
judgement, says what each of them had to do; then every call is compared with what really happened.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from engine_simulation import Watcher, World
from faulty_engine import POISON, Committed, Hidden, Removed, bodies_of
from oacp_storage_core import (
    Document,
    DuplicateIdError,
    OutcomeUnknownError,
    SchemaVersionError,
    StorageClosedError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    VersionConflictError,
)
from oacp_storage_engine import Applied, Conflict, DocRef, Duplicate, Outcome, Rejected, Unit
from simulated_calls import Operation

READS = {"get", "newest", "log", "count", "list_agents", "health", "verify"}
STEPPED = {"trim", "erase", "update", "verify"}  # several steps, each with a timeout of its own
GRACE = 2.0


class Applications(NamedTuple):
    """One unit of an operation that was judged: when, where in its group, and with which outcome."""

    tick: int
    position: int
    unit: Unit
    outcome: Outcome


class Model:
    """The contract as a few dictionaries, applied to what the store did in its order."""

    def __init__(self, agents: list[str]) -> None:
        self.heads: Counter[str] = Counter()
        self.logs: dict[str, dict[int, tuple[str, str]]] = {agent: {} for agent in agents}
        self.documents: dict[DocRef, tuple[int, str, int]] = {}
        self.listed: set[str] = set()
        self.deleted: dict[tuple[str, int], int] = {}
        self.written: dict[tuple[str, int], tuple[int, str, str]] = {}
        # What was there from which tick on.
        self.log_at: dict[str, list[tuple[int, list[tuple[int, str]]]]] = {
            agent: [(0, [])] for agent in agents
        }
        self.document_at: dict[DocRef, list[tuple[int, tuple[int, str, int] | None]]] = defaultdict(
            lambda: [(0, None)]
        )

    def apply(self, unit: Unit, tick: int) -> Outcome:
        agent = unit.agent
        ids = {name: sequence for sequence, (name, _) in self.logs[agent].items()} if agent else {}
        present = [one.id in ids for one in unit.appends]
        for i, one in enumerate(unit.appends):
            if present[i] and self.logs[agent or ""][ids[one.id]][1] != _key(one.body):
                return Duplicate(i, ids[one.id])
        if unit.turn and any(present):
            if not all(present):
                return Duplicate(present.index(True), ids[unit.appends[present.index(True)].id])
            sequences = tuple(ids[one.id] for one in unit.appends)
            return Applied(sequences, (), tuple(range(len(sequences))), replayed=True)
        for i, put in enumerate(unit.puts):
            actual = self.documents.get(DocRef(agent, put.kind, put.key), (0, "", 0))[0]
            if put.expected not in (None, actual):
                return Conflict(i, actual)
        return self._write(unit, present, ids, tick)

    def _write(self, unit: Unit, present: list[bool], ids: dict[str, int], tick: int) -> Applied:
        sequences, versions = [], []
        for i, one in enumerate(unit.appends):
            agent = unit.agent or ""
            if not present[i]:
                self.heads[agent] += 1
                sequence = self.heads[agent]
                self.logs[agent][sequence] = (one.id, _key(one.body))
                self.written[agent, sequence] = (tick, one.id, _key(one.body))
            sequences.append(ids[one.id] if present[i] else self.heads[agent])
        for put in unit.puts:
            ref = DocRef(unit.agent, put.kind, put.key)
            before = self.documents.pop(ref, None)
            if put.body is not None:
                body = json.loads(put.body)
                self.documents[ref] = ((before[0] if before else 0) + 1, body["k"], body["n"])
            versions.append(self.documents[ref][0] if put.body is not None else before[0] if before else 0)
            self.document_at[ref].append((tick, self.documents.get(ref)))
        if unit.agent and (unit.appends or any(put.body is not None for put in unit.puts)):
            self.listed.add(unit.agent)
        existing = tuple(i for i, there in enumerate(present) if there)
        return Applied(tuple(sequences), tuple(versions), existing)

    def remove(self, agent: str, sequence: int, tick: int) -> None:
        del self.logs[agent][sequence]
        self.deleted[agent, sequence] = tick

    def hide(self, agent: str, tick: int) -> None:
        for sequence in list(self.logs[agent]):
            self.remove(agent, sequence, tick)
        for ref in [ref for ref in self.documents if ref.agent == agent]:
            del self.documents[ref]
            self.document_at[ref].append((tick, None))
        self.listed.discard(agent)

    def note(self, tick: int) -> None:
        """Remember the logs as they are from this tick on."""
        for agent, log in self.logs.items():
            now = [(sequence, key) for sequence, (_, key) in log.items()]
            if now != self.log_at[agent][-1][1]:
                self.log_at[agent].append((tick, now))


def violations(world: World) -> list[str]:
    """Everything that a run violated; empty when all is well."""
    return [*world.problems, *_Check(world).all()]


class _Check:
    def __init__(self, world: World) -> None:
        self.world = world
        self.model = Model(world.agents)
        self.applied: dict[Operation, list[Applications]] = defaultdict(list)
        self.steps: dict[Operation, list[int]] = defaultdict(list)
        self.deleting: set[Operation] = set()  # which deleted something

    def all(self) -> Iterator[str]:
        yield from self.what_the_store_did()
        for operation in self.world.operations:
            for fault in self.one_call(operation):
                yield f"{fault}: {operation}"
        yield from self.order_of_calls()
        yield from self.errors_are_not_shared()
        for watcher in self.world.watchers:
            yield from self.watched(watcher)
        yield from self.what_is_left()

    # --- the store ----------------------------------------------------------------------------------------

    def what_the_store_did(self) -> Iterator[str]:
        """Outcomes, sequences, versions and replays are what the contract says."""
        for event in self.world.truth.events:
            if isinstance(event, Committed):
                for position, (operation, unit, outcome) in enumerate(event.units):
                    expected = self.model.apply(unit, event.tick)
                    if outcome != expected:
                        yield f"the store judged {outcome}, the contract {expected}: {operation}"
                    self.applied[operation].append(Applications(event.tick, position, unit, outcome))
            elif isinstance(event, Removed):
                self.deleting |= {event.operation} if event.sequences else set()
                for agent, sequence in event.sequences:
                    self.model.remove(agent, sequence, event.tick)
                self.steps[event.operation].append(event.tick)
            elif isinstance(event, Hidden):
                self.deleting |= {event.operation} if event.agent in self.model.listed else set()
                self.model.hide(event.agent, event.tick)
                self.steps[event.operation].append(event.tick)
            self.model.note(event.tick)

    def what_is_left(self) -> Iterator[str]:
        """The last reading of each log, after all faults, is what the store holds."""
        for agent, log in self.model.logs.items():
            last = [one for one in self.world.operations if one.name == "log" and one.slot[0] == agent][-1:]
            found = [(one.sequence, one.data["k"]) for one in last[0].result or []] if last else []
            if found != [(sequence, key) for sequence, (_, key) in log.items()]:
                yield f"the log of {agent} is {log}, it was read as {found}"

    # --- one call -----------------------------------------------------------------------------------------

    def one_call(self, op: Operation) -> Iterator[str]:
        if op.ended is None:
            return  # its loop was closed under it
        yield from self.its_error(op)
        yield from self.its_time(op)
        if op.name in READS:
            if op.acknowledged:
                yield from self.its_reading(op)
        elif op.name not in ("trim", "erase"):
            yield from self.its_writing(op)
        elif op.acknowledged and not self.steps[op]:
            yield "acknowledged, and never done"
        elif isinstance(op.error, StorageTimeoutError) and op in self.deleting:
            yield "said to have changed nothing, and deleted something"

    def its_error(self, op: Operation) -> Iterator[str]:
        """Only what the contract allows, and for a reason."""
        error = op.error
        if error is None:
            return
        if isinstance(error, asyncio.CancelledError):
            if op.task not in self.world.cancelled_tasks:
                yield "cancelled, though nobody cancelled it"
            return
        fine = (VersionConflictError, DuplicateIdError, OutcomeUnknownError, SchemaVersionError)
        if isinstance(error, (*fine, StorageTimeoutError, StorageConnectionError, StorageClosedError)):
            pass
        elif type(error) is not StorageError or not isinstance(error.__cause__, Rejected):
            yield "an error that no caller should get"
        elif not self.is_poisoned(op):
            yield "refused because of what others wrote"
        if isinstance(error, OutcomeUnknownError) and not op.sent:
            yield "of unknown outcome, and was never sent"
        if isinstance(error, StorageClosedError):
            closing = self.world.closings.get(op.storage)
            if closing is None or (closing > op.began and op.name not in ("update", "verify")):
                yield f"told that the storage is closed, which began at {closing}"
        if self.world.quiet and isinstance(error, StorageTimeoutError | OutcomeUnknownError):
            yield "failed, though nothing went wrong"

    def is_poisoned(self, op: Operation) -> bool:
        units = [unit for unit, of in self.world.truth.units.values() if of is op]
        return any(POISON in body for unit in units for body in bodies_of(unit))

    def its_time(self, op: Operation) -> Iterator[str]:
        """A call ends in its time; what hangs, and a group's later callers, may add a little."""
        least = self.world.timeout * 0.1
        longest = self.world.timeout + least + GRACE + 0.1
        if op.name == "turn":
            longest += self.world.timeout  # a replayed one reads after writing
        if op.name not in STEPPED and op.seconds > longest:
            yield f"took {op.seconds:.1f} s of a timeout of {self.world.timeout}"

    def its_writing(self, op: Operation) -> Iterator[str]:
        """Exactly once when acknowledged, at most once when unknown or cancelled, never when refused."""
        judged = self.applied[op]
        applied = [one for one in judged if isinstance(one.outcome, Applied)]
        if len(applied) > 1:
            yield f"applied {len(applied)} times"
        elif op.acknowledged:
            if not applied or judged[-1] is not applied[0]:
                yield "acknowledged, and not applied"
            else:
                yield from self.its_answer(op, applied[0])
            if judged and not op.began <= judged[-1].tick <= (op.ended or 0):
                yield "applied at another time than that of the call"
        elif not isinstance(op.error, OutcomeUnknownError | asyncio.CancelledError) and any(
            not one.outcome.replayed for one in applied if isinstance(one.outcome, Applied)
        ):
            yield "said to have changed nothing, and was applied"
        refused = isinstance(op.error, VersionConflictError | DuplicateIdError)
        if refused and (not judged or isinstance(judged[-1].outcome, Applied)):
            yield "refused without having been judged so"
        if isinstance(op.error, VersionConflictError):
            outcome = judged[-1].outcome
            if isinstance(outcome, Conflict) and op.error.actual != outcome.actual:
                yield f"told version {op.error.actual}, it was {outcome.actual}"

    def its_answer(self, op: Operation, done: Applications) -> Iterator[str]:
        """What was returned is what was stored."""
        outcome, unit, result = done.outcome, done.unit, op.result
        assert isinstance(outcome, Applied)
        if op.name in ("append", "append_given") and result != unit.appends[0].id:
            yield "another id was returned"
        if op.name == "batch" and result != [one.id for one in unit.appends]:
            yield "other ids were returned"
        if op.name == "put" and (result,) != outcome.versions:
            yield f"it became version {outcome.versions}"
        if op.name == "remove" and result != (outcome.versions[0] > 0):
            yield f"what was deleted was version {outcome.versions}"
        if op.name == "update":
            yield from self.its_update(op, done)
        if op.name == "turn":
            if result.replayed != outcome.replayed:
                yield f"replayed: {outcome.replayed}"
            if tuple(one.sequence for one in result.interactions) != outcome.sequences:
                yield f"its sequences are {outcome.sequences}"
            if not result.replayed and result.state.version != outcome.versions[0]:
                yield f"its versions are {outcome.versions}"

    def its_update(self, op: Operation, done: Applications) -> Iterator[str]:
        """It was made of the version just before it, and nothing was lost between."""
        put = done.unit.puts[0]
        states = self.model.document_at[DocRef(done.unit.agent, put.kind, put.key)]
        at = [
            i
            for i, (tick, state) in enumerate(states)
            if (tick, state and state[1]) == (done.tick, f"{op.number}")
        ]
        if not at:
            yield "an update was judged otherwise"
            return
        before, now = states[at[0] - 1][1], states[at[0]][1]
        # Deleted and created again it may be at the same version: that much the contract allows.
        recreated = None in _during(states[: at[0] + 1], op)
        if now is None or (now[2] != (before[2] if before else 0) + 1 and not recreated):
            yield f"an update was lost: {before} became {now}"
        if not isinstance(op.result, Document) or op.result.data["n"] != (now or (0, "", 0))[2]:
            yield f"it returned {op.result}, and stored {now}"

    def its_reading(self, op: Operation) -> Iterator[str]:
        """It is what was there at some moment of the call."""
        agent, key = op.slot
        if op.name == "get":
            kinds = [ref for ref in self.model.document_at if (ref.agent, ref.key) == (agent, key)]
            found = op.result and (op.result.version, op.result.data["k"], op.result.data["n"])
            possible = [state for ref in kinds for state in _during(self.model.document_at[ref], op)] or [
                None
            ]
            if found not in possible:
                yield f"there was only {possible}"
        elif op.name in ("newest", "count", "log"):
            logs = _during(self.model.log_at[agent or ""], op)
            limit = op.arguments.get("limit", 10**6)
            if op.name == "newest" and not any(
                [data["k"] for data in op.result] == [key for _, key in log[-limit:]] for log in logs
            ):
                yield f"there was only {logs}"
            if op.name == "count" and op.result not in [len(log) for log in logs]:
                yield f"there were {[len(log) for log in logs]}"
            if op.name == "log" and [(one.sequence, one.data["k"]) for one in op.result] not in logs:
                yield f"there was only {logs}"
        elif op.name == "verify" and op.result:
            yield "damage was found"
        elif op.name == "health" and self.world.quiet and not op.result.ok:
            yield "not well, though nothing went wrong"

    # --- between calls ------------------------------------------------------------------------------------

    def order_of_calls(self) -> Iterator[str]:
        """Calls through one storage for one agent are judged in the order in which they were made."""
        last: dict[Any, tuple[tuple[int, int], Operation]] = {}
        for op in self.world.operations:
            definite = op.acknowledged or isinstance(op.error, VersionConflictError | DuplicateIdError)
            if not definite or op.name == "update":
                continue
            if self.applied[op]:
                at = (self.applied[op][0].tick, self.applied[op][0].position)
            elif self.steps[op]:
                at = (self.steps[op][0], 0)
            else:
                continue
            slot = (op.storage, op.slot[0] or op.slot)
            before = last.get(slot)
            if before is not None and at < before[0]:
                yield f"overtaken: {before[1]} was called before, and applied after: {op}"
            last[slot] = (at, op)

    def errors_are_not_shared(self) -> Iterator[str]:
        owners: dict[int, Operation] = {}
        for op in self.world.operations:
            if isinstance(op.error, Exception):
                other = owners.setdefault(id(op.error), op)
                if other is not op:
                    yield f"the same exception object was given to {other} and {op}"

    def watched(self, watcher: Watcher) -> Iterator[str]:
        """Everything after the start, once, in order; passed over only what was deleted before."""
        sequences = [one.sequence for _, one in watcher.seen]
        who = f"watcher of {watcher.agent} after {watcher.after}"
        if sequences != sorted(set(sequences)):
            yield f"{who} saw {sequences}"
        for tick, one in watcher.seen:
            known = self.model.written.get((watcher.agent, one.sequence))
            if known is None or known[1:] != (one.id, one.data["k"]) or known[0] > tick:
                yield f"{who} saw {one}, which is not {known}"
        if watcher.after is None and not sequences:
            return
        start = sequences[0] - 1 if watcher.after is None else watcher.after
        for (agent, sequence), (_, _, key) in self.model.written.items():
            if agent != watcher.agent or sequence <= start or sequence in sequences:
                continue
            if (agent, sequence) not in self.model.deleted:
                yield f"{who} never saw {sequence} ({key}); it saw {sequences}"


def _during(states: list[tuple[int, Any]], op: Operation) -> list[Any]:
    """The states that were current at some moment of the call."""
    begun = [state for tick, state in states if tick <= op.began][-1:]
    return begun + [state for tick, state in states if op.began < tick <= (op.ended or 0)]


def _key(body: bytes) -> str:
    key: str = json.loads(body)["k"]
    return key
