"""``commit_group`` and ``write_group`` decide as ``oacp_storage_engine.judge`` does, for random groups of units."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import asyncpg
import pytest

from oacp_storage_engine import Append, Applied, DocKind, Put, Snapshot, Unit, judge
from oacp_storage_postgres.commits import is_plain
from oacp_storage_postgres.connections import Connections
from oacp_storage_postgres.engine import PostgresEngine

AGENTS = ["a", "b", "a:b", "{x}", "ä\n|,"]
KEYS = ["k", "l", "k,|"]


def random_unit(rng: random.Random, next_id: Callable[[], str]) -> Unit:
    if rng.random() < 0.15:
        return Unit(None, (), (random_put(rng, DocKind.SYSTEM),))
    appends = []
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        given = rng.random() < 0.5
        appends.append(
            Append(
                rng.choice(["1", "2", "3", "4"]) if given else next_id(),
                given,
                rng.randrange(-100, 100),
                rng.choice([b'{"n":1}', b'{"n":2}']),
                rng.randrange(2**32),
                rng.choice([None] * 6 + [rng.randrange(1, 40), 2**53]),
            )
        )
    kinds = [kind for kind in (DocKind.STATE, DocKind.LEARNING) if rng.random() < 0.4]
    puts = tuple(random_put(rng, kind) for kind in kinds)
    if not appends and not puts:
        return Unit("a", (), (random_put(rng, DocKind.STATE),))
    return Unit(rng.choice(AGENTS), tuple(appends), puts, turn=rng.random() < 0.3)


def random_put(rng: random.Random, kind: DocKind) -> Put:
    key = "" if kind is DocKind.STATE else rng.choice(KEYS)
    expected = rng.choice([None, None, 0, 1, 2, 3])
    if rng.random() < 0.2:
        return Put(kind, key, None, 0, 0, expected)
    version = rng.choice([None] * 6 + [rng.randrange(1, 9), 2**53 - 1])
    body = b'{"d":%d}' % rng.randrange(9)
    return Put(kind, key, body, rng.randrange(99), rng.randrange(2**32), expected, version)


def plain_units(rng: random.Random, new_id: Callable[[], str]) -> list[Unit]:
    """Units that the server need not judge, except for the versions that some of them expect."""
    units = []
    for agent in [rng.choice(AGENTS), *rng.sample(AGENTS, rng.randrange(len(AGENTS)))]:
        appends = tuple(Append(new_id(), False, 1, b"{}", 2) for _ in range(rng.randrange(4)))
        units.append(Unit(agent, appends, turn=rng.random() < 0.3))
    for i in rng.sample(range(len(units)), rng.randrange(len(units) + 1)):
        if any(unit.puts for unit in units if unit.agent == units[i].agent):
            continue
        puts = []
        for kind, key in [(DocKind.STATE, ""), *((DocKind.LEARNING, key) for key in KEYS)]:
            expected = rng.choice([None, None, None, 0, 1, 2])
            if rng.random() < 0.5:
                puts.append(Put(kind, key, b'{"d":%d}' % rng.randrange(9), 3, 4, expected))
        units[i] = units[i]._replace(puts=tuple(puts))
    return units


def engine_of(database: str, namespace: str) -> PostgresEngine:
    connections = Connections(
        {"dsn": database}, place="the test", kept=4, extra=0, timeout=30, pgbouncer=False
    )
    return PostgresEngine(connections, None, namespace, json_indexing=False, partition=False, listen=False)


@pytest.mark.asyncio
async def test_the_functions_mirror_the_judge(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    counter = iter(range(1_000_000))
    deadline = asyncio.get_running_loop().time() + 120
    for case in range(10):
        engine = engine_of(database, f"judge-{case}")
        await engine.open()
        snapshot = Snapshot()
        logs: dict[str, dict[int, tuple[str, bytes]]] = {}
        bodies: dict[tuple[str | None, str, str], bytes | None] = {}
        for group in range(30):
            units = [random_unit(rng, lambda: f"g{next(counter)}") for _ in range(rng.randrange(1, 8))]
            if rng.random() < 0.4:
                units = plain_units(rng, lambda: f"p{next(counter)}")
                assert is_plain(units)
                # Written by either of the two ways.
                monkeypatch.setattr("oacp_storage_postgres.engine._COPIED_FROM", rng.choice([1, 1000]))
            plan = judge(units, snapshot)
            attempt = f"{case}-{group}"
            found = await engine.commit(attempt, units, deadline=deadline)
            assert found == plan.outcomes, (seed, case, group, units)
            if plan.heads or plan.documents:
                again = await engine.commit(attempt, units, deadline=deadline)
                assert again == plan.outcomes, (seed, case, group, "the second sending")
            for row in plan.rows:
                logs.setdefault(row.agent, {})[row.sequence] = row.append.id, row.append.body
            for ref, stored in plan.documents.items():
                bodies[ref.agent, ref.kind, ref.key] = stored.put.body if stored else None
        assert await engine.scan_agents(prefix="", after=None, limit=100) == sorted(
            snapshot.heads.keys() & {*logs, *(agent for agent, _, _ in bodies if agent is not None)}
        )
        for agent, log in logs.items():
            page = await engine.read_log(agent, 0, None, reverse=False, limit=10_000, max_bytes=1 << 30)
            assert {record.sequence: (record.id, record.body) for record in page.records} == log
            assert page.head == snapshot.heads[agent]
        for (agent_or_none, kind, key), body in bodies.items():
            (doc,) = await engine.read_docs(agent_or_none, DocKind(kind), [key])
            assert (doc.body if doc else None) == body
        await engine.close()


@pytest.mark.asyncio
async def test_many_engines_that_create_the_same_agents_at_once_agree(database: str) -> None:
    """Each group names the agents in another order; none waits for another in a circle, and no sequence is lost."""
    engines = [engine_of(database, "default") for _ in range(4)]
    for engine in engines:
        await engine.open()
    deadline = asyncio.get_running_loop().time() + 60
    rounds, agents = 15, [f"agent {n}" for n in range(6)]

    async def write(who: int) -> None:
        rng = random.Random(who)
        for n in range(rounds):
            names = [f"{name} of {n}" for name in rng.sample(agents, len(agents))]
            units = [
                Unit(name, (Append(f"{who} {name}", rng.random() < 0.5, 1, b"{}", 1),)) for name in names
            ]
            units.append(Unit(None, (), (Put(DocKind.SYSTEM, f"key {n}", b"{}", 1, 1),)))
            outcomes = await engines[who].commit(f"{who}-{n}", units, deadline=deadline)
            assert all(isinstance(outcome, Applied) for outcome in outcomes)

    await asyncio.gather(*(write(who) for who in range(len(engines))))
    for n in range(rounds):
        for name in agents:
            page = await engines[0].read_log(
                f"{name} of {n}", 0, None, reverse=False, limit=99, max_bytes=1 << 20
            )
            assert [record.sequence for record in page.records] == [1, 2, 3, 4]
        (doc,) = await engines[0].read_docs(None, DocKind.SYSTEM, [f"key {n}"])
        assert doc is not None
        assert doc.version == 4
    for engine in engines:
        await engine.close()


def test_what_depends_on_another_unit_of_the_group_is_judged() -> None:
    state = Put(DocKind.STATE, "", b"{}", 1, 1, 0)
    fresh = Append("p", False, 1, b"{}", 2)
    assert is_plain([Unit("a", (fresh,), (state,)), Unit("b", (), (state,), turn=True)])
    for judged in (
        [Unit("a", (), (state,)), Unit("a", (), (state,))],
        [Unit("a", (), (state._replace(body=None),))],
        [Unit("a", (), (state._replace(version=7),))],
        [Unit("a", (fresh._replace(given=True),))],
        [Unit("a", (fresh._replace(sequence=7),))],
        [Unit(None, (), (Put(DocKind.SYSTEM, "k", b"{}", 1, 1),))],
    ):
        assert not is_plain(judged)


BETWEEN_STATEMENTS = """
CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END$$;
CREATE TRIGGER waits AFTER UPDATE ON oacp.agents FOR EACH STATEMENT EXECUTE FUNCTION wait_for_the_test();
"""


@pytest.mark.asyncio
async def test_an_agent_that_is_created_while_a_group_is_taken_back_keeps_its_head(database: str) -> None:
    """write_group advances the heads, finds one agent missing, and takes back what it advanced, and no more."""
    engine = engine_of(database, "default")
    await engine.open()
    deadline = asyncio.get_running_loop().time() + 60
    await engine.commit("1", [Unit("old", (Append("1", False, 1, b"{}", 1),))], deadline=deadline)
    other = await asyncpg.connect(database)
    await other.execute(BETWEEN_STATEMENTS)
    await other.execute("SELECT pg_advisory_lock(1)")
    units = [Unit(name, (Append(f"2 {name}", False, 1, b"{}", 1),)) for name in ("old", "new")]
    async with asyncio.TaskGroup() as tasks:
        committing = tasks.create_task(engine.commit("2", units, deadline=deadline))
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not committing.done()
        await other.execute("INSERT INTO oacp.agents VALUES ('new', 'default', 7, 0, 1)")
        await other.execute("SELECT pg_advisory_unlock(1)")
    assert committing.result() == [Applied((2,)), Applied((8,))]
    await other.close()
    await engine.close()
