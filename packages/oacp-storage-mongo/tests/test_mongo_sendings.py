"""Sendings that are cut, come too late, overlap or are half refused: nothing is doubled or wrongly reported."""

# ruff: noqa: SLF001 - what is late inside of an engine cannot be arranged from outside

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo import MongoClient

from mongo_testing import MongoProxy, name_of, sockets_left_by_pymongo
from oacp_storage_conformance.load import whole_log
from oacp_storage_conformance.servers import MongoServer, once
from oacp_storage_core import OutcomeUnknownError, StorageTimeoutError
from oacp_storage_engine import Append, Applied, DocKind, NotApplied, Put, Unit, Unknown
from oacp_storage_mongo import MongoStorage, commits, deletions, finishing, judged
from oacp_storage_mongo import engine as engine_module
from oacp_storage_mongo.engine import MongoEngine
from oacp_storage_mongo.judged import commit_judged

DRIVERS = ("motor", "pymongo")
pytestmark = sockets_left_by_pymongo


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return name_of(request)


@pytest.fixture
def proxy(oacp_mongo_server: MongoServer) -> Iterator[MongoProxy]:
    if not oacp_mongo_server.controllable:
        pytest.skip("needs a server of our own, whose port is known")
    with MongoProxy(oacp_mongo_server.ports[0]) as proxy:
        yield proxy


def unit(agent: str, *ids: str) -> Unit:
    """Appends of ids that the store made."""
    return Unit(agent, tuple(Append(one, given=False, at_us=1, body=b"{}", crc=0) for one in ids))


def state(agent: str, expected: int | None = None) -> Unit:
    return Unit(agent, puts=(Put(DocKind.STATE, "", b"{}", 1, 0, expected),))


@asynccontextmanager
async def engine_at(server: MongoServer, namespace: str) -> AsyncIterator[MongoEngine]:
    engine = MongoStorage(server.url, namespace=namespace)._make_engine()
    assert isinstance(engine, MongoEngine)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


async def commit(engine: MongoEngine, attempt: str, units: list[Unit], seconds: float = 20) -> Any:
    """``attempt`` is one of the engine's namespace; receipts are the database's."""
    deadline = asyncio.get_running_loop().time() + seconds
    return await engine.commit(f"{engine._namespace} {attempt}", units, deadline=deadline)


async def ids_of(engine: MongoEngine, agent: str) -> list[tuple[int, str]]:
    page = await engine.read_log(agent, 0, None, reverse=False, limit=100, max_bytes=10**6)
    return [(record.sequence, record.id) for record in page.records]


class Gate:
    """Holds the first call of a function until it is opened."""

    def __init__(self, function: Callable[..., Awaitable[Any]], *, after: bool = False) -> None:
        self._function = function
        self._after = after
        self._first = True
        self.open = asyncio.Event()

    async def __call__(self, *args: Any, **options: Any) -> Any:
        first, self._first = self._first, False
        if not first:
            return await self._function(*args, **options)
        result = await self._function(*args, **options) if self._after else None
        await self.open.wait()
        return result if self._after else await self._function(*args, **options)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_appends_before_a_part_that_fails_happen_once(
    proxy: MongoProxy, namespace: str, driver: Any
) -> None:
    async with MongoStorage(proxy.url, namespace=namespace, driver=driver) as storage:
        await storage.store_interaction("ann", {"n": 0})
        await storage.store_agent_state("bob", {"n": 0})
        proxy.on_request = once(lambda data: b"startTransaction" in data)
        await asyncio.gather(
            storage.store_interaction("ann", {"n": 1}),
            storage.store_interaction("ann", {"n": 2}),
            storage.store_agent_state("bob", {"n": 1}),
        )
        log = await whole_log(storage, "ann")
        assert [(one.sequence, one.data["n"]) for one in log] == [(1, 0), (2, 1), (3, 2)]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.asyncio
async def test_a_sending_whose_time_is_over_writes_no_more(
    oacp_mongo_server: MongoServer, namespace: str, monkeypatch: pytest.MonkeyPatch, batch: bool
) -> None:
    """Its first read is late; meanwhile its units are sent again."""
    async with engine_at(oacp_mongo_server, namespace) as engine:
        await commit(engine, "0", [unit("ann", "zero")])
        engine._commits._heads.forget("ann")
        module = judged if batch else commits
        gate = Gate(module.load)
        monkeypatch.setattr(module, "load", gate)
        units = [unit("ann", "one", "two") if batch else unit("ann", "one")]
        with pytest.raises(NotApplied):
            await commit(engine, "1", units, seconds=0.3)
        outcomes = await commit(engine, "1", units)
        gate.open.set()
        await engine._finishing.ended()
        expected = [(1, "zero"), (2, "one")] + ([(3, "two")] if batch else [])
        assert await ids_of(engine, "ann") == expected
        assert outcomes == [Applied((2, 3) if batch else (2,))]


@pytest.mark.asyncio
async def test_a_transaction_whose_time_is_over_is_not_committed(
    oacp_mongo_server: MongoServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_at(oacp_mongo_server, namespace) as engine:
        gate = Gate(judged._Writing.write, after=True)

        async def write(*args: Any) -> None:
            await gate(*args)

        monkeypatch.setattr(judged._Writing, "write", write)
        with pytest.raises(Unknown):
            await commit(engine, "1", [unit("ann", "one", "two")], seconds=0.5)
        gate.open.set()
        await engine._finishing.ended()
        assert await ids_of(engine, "ann") == []
        assert await commit(engine, "1", [unit("ann", "one", "two")]) == [Applied((1, 2))]


@pytest.mark.parametrize("clock", ["time", "monotonic"])
@pytest.mark.asyncio
async def test_after_a_long_sleep_a_log_is_looked_at_again(
    oacp_mongo_server: MongoServer, namespace: str, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    """The machine sleeps between looking at a log and sending what relies on that; one of two clocks tells."""
    async with engine_at(oacp_mongo_server, namespace) as engine:
        await commit(engine, "0", [unit("ann", "zero")])
        heads_of = engine._commits._heads_of

        async def asleep(*args: Any) -> Any:
            heads = await heads_of(*args)
            now = getattr(time, clock)
            monkeypatch.setattr(
                finishing, "time", SimpleNamespace(**vars(time) | {clock: lambda: now() + 3700})
            )
            return heads

        with monkeypatch.context() as patched:
            patched.setattr(engine._commits, "_heads_of", asleep)
            with pytest.raises(NotApplied, match="slept"):
                await commit(engine, "1", [unit("ann", "one")])
            assert engine._commits._heads.get("ann") is None
        assert await commit(engine, "1", [unit("ann", "one")]) == [Applied((2,))]


@pytest.mark.asyncio
async def test_a_group_of_many_rows_is_several_transactions(
    oacp_mongo_server: MongoServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies of a few bytes: by these alone a group would have no bound. A part that fails leaves the others alone."""
    sizes: list[int] = []
    write = judged._Writing.write

    async def counting(self: Any, session: Any) -> None:
        sizes.append(len(self._plan.rows))
        await write(self, session)
        if len(sizes) == 2:
            raise NotApplied("the server ended the transaction")

    monkeypatch.setattr(judged._Writing, "write", counting)
    units = [unit("ann", *[f"{n} {i}" for i in range(5_000)]) for n in range(3)] + [state("bob")]
    async with engine_at(oacp_mongo_server, namespace) as engine:
        with pytest.raises(Unknown):
            await commit(engine, "1", units)
        outcomes = await commit(engine, "1", units)
        assert [len(outcome.sequences) for outcome in outcomes] == [5_000, 5_000, 5_000, 0]
        page = await engine.read_log("ann", 0, None, reverse=False, limit=20_000, max_bytes=10**6)
        assert [record.id for record in page.records] == [
            append.id for one in units for append in one.appends
        ]
    assert sizes == [10_000, 5_000, 5_000]


@pytest.mark.asyncio
async def test_a_group_that_ended_when_nobody_waited_any_more_tells_the_same_again(
    oacp_mongo_server: MongoServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_at(oacp_mongo_server, namespace) as engine:
        await commit(engine, "0", [unit("ann", "zero")])
        units = [unit("ann", "one"), state("bob", 0)]
        gate = Gate(commit_judged, after=True)
        monkeypatch.setattr(commits, "commit_judged", gate)
        with pytest.raises(Unknown):
            await commit(engine, "1", units, seconds=0.5)
        gate.open.set()
        await engine._finishing.ended()
        assert await commit(engine, "1", units) == [Applied((2,)), Applied((), (1,))]
        assert await ids_of(engine, "ann") == [(1, "zero"), (2, "one")]


@pytest.mark.asyncio
async def test_sendings_of_a_mixed_group_may_overlap(
    oacp_mongo_server: MongoServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt of the first holds what was judged in it, which is less than what the second asks for."""
    async with engine_at(oacp_mongo_server, namespace) as engine:
        await commit(engine, "0", [unit("ann", "zero")])
        units = [unit("ann", "one"), state("bob", 0)]
        first = Gate(commit_judged, after=True)  # it is committed, and its answer is late
        monkeypatch.setattr(commits, "commit_judged", first)
        with pytest.raises(Unknown):
            await commit(engine, "1", units, seconds=0.5)
        group = engine._commits._group
        group.outcomes.clear()  # as if the answer to the append were late too
        group.unanswered += 1
        assert await commit(engine, "1", units) == [Applied((2,)), Applied((), (1,))]
        first.open.set()
        await engine._finishing.ended()
        assert await ids_of(engine, "ann") == [(1, "zero"), (2, "one")]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_what_was_never_sent_is_not_said_to_be_unknown(
    proxy: MongoProxy, namespace: str, driver: Any
) -> None:
    storage = MongoStorage(proxy.url, namespace=namespace, driver=driver, timeout=1.5, connect_timeout=1)
    async with storage:
        await storage.open()
        proxy.frozen = True
        try:
            with pytest.raises(StorageTimeoutError):
                await storage.store_interaction("ann", {"n": 1})
        finally:
            proxy.frozen = False
            proxy.cut()


@pytest.mark.asyncio
async def test_a_deletion_that_is_begun_does_not_fail(
    oacp_mongo_server: MongoServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent is hidden, and then the server is away: what is hidden is for a later step."""
    async with engine_at(oacp_mongo_server, namespace) as engine:
        await commit(engine, "0", [unit("ann", "zero")])

        async def away(*_args: Any) -> None:
            raise NotApplied("MongoDB cannot be reached")

        deadline = asyncio.get_running_loop().time() + 10
        with monkeypatch.context() as patched:
            patched.setattr(engine._deletions, "_remove", away)
            erased = await engine.erase(f"{namespace} 1", "ann", begin=True, limit=100, deadline=deadline)
        assert (erased.interactions, erased.more) == (1, True)
        assert not (
            await engine.erase(f"{namespace} 2", "ann", begin=False, limit=100, deadline=deadline)
        ).more


@pytest.mark.asyncio
async def test_an_opening_does_not_wait_for_all_that_is_to_be_erased(
    oacp_mongo_server: MongoServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process died after it had hidden an agent: others go on erasing beside their work, and while it fails."""
    async with engine_at(oacp_mongo_server, namespace) as engine:
        await commit(engine, "0", [unit("ann", *map(str, range(50)))])
        deadline = asyncio.get_running_loop().time() + 10
        erased = await engine.erase(f"{namespace} 1", "ann", begin=True, limit=10, deadline=deadline)
        assert (erased.interactions, erased.more) == (50, True)
    monkeypatch.setattr(deletions, "_STEP", 10)
    monkeypatch.setattr(engine_module, "_OPEN_SECONDS", 0.0)
    remove = deletions.Deletions._remove

    async def away(*_args: Any) -> None:
        raise NotApplied("MongoDB cannot be reached")

    with monkeypatch.context() as patched:
        patched.setattr(deletions.Deletions, "_remove", away)
        async with engine_at(oacp_mongo_server, namespace) as engine:
            assert await left_of(engine, "ann") == 50
    gate = Gate(remove, after=True)

    async def gated(*args: Any) -> Any:
        steps.append(args)
        return await (remove(*args) if len(steps) == 1 else gate(*args))

    steps: list[Any] = []
    monkeypatch.setattr(deletions.Deletions, "_remove", gated)
    async with engine_at(oacp_mongo_server, namespace) as engine:
        assert await left_of(engine, "ann") in {40, 30}
        assert await commit(engine, "2", [unit("bob", "zero")]) == [Applied((1,))]
        gate.open.set()
        while await left_of(engine, "ann"):
            await asyncio.sleep(0.01)


async def left_of(engine: MongoEngine, agent: str) -> int:
    """How many interactions are there, hidden ones too."""
    store = engine._store
    found = await store.all_of(store.interactions, [{"$match": store.of_agent(agent)}, {"$count": "n"}])
    return found[0]["n"] if found else 0


@pytest.fixture(scope="module")
def failing() -> Iterator[MongoServer]:
    """A server that can be told to fail."""
    with MongoServer(options=("--setParameter", "enableTestCommands=1")) as server:
        yield server


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_what_is_stored_is_not_said_to_have_failed(
    failing: MongoServer, namespace: str, driver: Any
) -> None:
    """One statement is refused in part, and its write concern fails beside that."""
    one = MongoStorage(failing.url, namespace=namespace, driver=driver)
    other = MongoStorage(failing.url, namespace=namespace)
    client: MongoClient[dict[str, Any]] = MongoClient(failing.url)
    async with one, other:
        for agent in ("ann", "cat"):
            await one.store_interaction(agent, {"n": 0})
        await other.store_interaction("ann", {"n": 1})  # which the first does not know of
        with client:
            client.admin.command(
                {
                    "configureFailPoint": "failCommand",
                    "mode": {"times": 1},
                    "data": {
                        "failCommands": ["insert"],
                        "writeConcernError": {"code": 11602, "errmsg": "stepped down"},
                    },
                }
            )
        answers = await asyncio.gather(
            one.store_interaction("cat", {"n": 1}),
            one.store_interaction("ann", {"n": 2}),
            return_exceptions=True,
        )
        assert not [a for a in answers if isinstance(a, Exception) and not isinstance(a, OutcomeUnknownError)]
        assert [(i.sequence, i.data["n"]) for i in await whole_log(other, "cat")] == [(1, 0), (2, 1)]
        assert [(i.sequence, i.data["n"]) for i in await whole_log(other, "ann")] == [(1, 0), (2, 1), (3, 2)]
