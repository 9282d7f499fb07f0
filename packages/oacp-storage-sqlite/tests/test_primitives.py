"""The primitives by themselves: what is read back, page by page, and what a second connection sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from oacp_storage_core import RetentionPick, StorageClosedError, Term
from oacp_storage_engine import (
    Applied,
    Conflict,
    DocKind,
    Duplicate,
    Engine,
    Hint,
    Info,
    NotApplied,
    Page,
    Rejected,
    Trimmed,
    Unit,
)
from oacp_storage_sqlite import reading, retention
from oacp_storage_sqlite.engine import SQLiteEngine
from sqlite_testing import AT_US, append, appends, make_engine, opened, plain, put, soon

BIG = 1 << 30
SECRET = b'{"said":"the rain in Spain"}'


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SQLiteEngine]:
    async with opened(make_engine(tmp_path / "a.db")) as engine:
        yield engine


async def sequences(
    engine: Engine, agent: str, *, reverse: bool = False, hint: Hint | None = None
) -> list[int]:
    """Reads the whole log by small pages."""
    found: list[int] = []
    low, high = 0, None
    for _ in range(1000):
        page = await engine.read_log(agent, low, high, reverse=reverse, limit=3, max_bytes=BIG, hint=hint)
        found += [record.sequence for record in page.records]
        if page.next is None:
            return found
        low, high = (low, page.next) if reverse else (page.next, high)
    raise AssertionError("the pages have no end")


# --- commits -------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_group_is_judged_unit_by_unit(engine: SQLiteEngine) -> None:
    units = [
        appends("a", ["1", "2"]),
        put("a", DocKind.STATE, "", b'{"s":1}', expected=1),
        appends("b", ["x"], given=True),
        appends("b", ["x"], given=True, body=b'{"n":2}'),
        put("a", DocKind.STATE, "", b'{"s":1}', expected=0),
        put("a", DocKind.STATE, "", b'{"s":2}'),
        put(None, DocKind.SYSTEM, "key", b'{"s":3}'),
        put(None, DocKind.SYSTEM, "other", None),
        appends("a", ["3"]),
    ]
    assert await engine.commit("1", units, deadline=soon()) == [
        Applied((1, 2)),
        Conflict(0, 0),
        Applied((1,)),
        Duplicate(0, 1),
        Applied((), (1,)),
        Applied((), (2,)),
        Applied((), (1,)),
        Applied((), (0,)),
        Applied((3,)),
    ]
    assert await engine.scan_agents(prefix="", after=None, limit=10) == ["a", "b"]
    assert await sequences(engine, "a") == [1, 2, 3]
    (state,) = await engine.read_docs("a", DocKind.STATE, [""])
    assert state is not None
    assert (state.version, state.body, state.at_us) == (2, b'{"s":2}', AT_US)
    assert [
        doc.key for doc in await engine.scan_docs(None, DocKind.SYSTEM, prefix="", after=None, limit=9)
    ] == ["key"]


@pytest.mark.asyncio
async def test_a_generated_id_is_found_as_a_given_one(engine: SQLiteEngine) -> None:
    await engine.commit("1", [appends("a", ["id"])], deadline=soon())
    again = [appends("a", ["id"], given=True), appends("a", ["id", "new"], given=True)]
    assert await engine.commit("2", again, deadline=soon()) == [
        Applied((1,), (), (0,)),
        Applied((1, 2), (), (0,)),
    ]


@pytest.mark.asyncio
async def test_what_others_wrote_is_known_at_the_next_commit(tmp_path: Path, engine: SQLiteEngine) -> None:
    async with opened(make_engine(tmp_path / "a.db")) as other:
        for sequence in range(1, 9, 2):
            assert await engine.commit("1", [appends("a", [f"{sequence}"])], deadline=soon()) == [
                Applied((sequence,))
            ]
            unit = appends("a", [f"{sequence + 1}"])
            assert await other.commit("1", [unit], deadline=soon()) == [Applied((sequence + 1,))]


@pytest.mark.asyncio
async def test_imports_keep_sequences_and_versions(engine: SQLiteEngine) -> None:
    units = [
        Unit("a", (append("a", "x", given=True, sequence=7), append("a", "y", given=True, sequence=2**40))),
        put("a", DocKind.STATE, "", b"{}", version=12),
        appends("a", ["z"]),
    ]
    outcomes = await engine.commit("1", units, deadline=soon())
    assert outcomes == [Applied((7, 2**40)), Applied((), (12,)), Applied((2**40 + 1,))]
    assert await sequences(engine, "a") == [7, 2**40, 2**40 + 1]


@pytest.mark.asyncio
async def test_a_number_beyond_64_bits_is_rejected(engine: SQLiteEngine) -> None:
    unit = Unit("a", (append("a", "x", given=True, sequence=2**63),))
    with pytest.raises(Rejected, match="64 bits"):
        await engine.commit("1", [unit], deadline=soon())
    assert await engine.scan_agents(prefix="", after=None, limit=10) == []
    assert await engine.commit("2", [appends("a", ["x"])], deadline=soon()) == [Applied((1,))]


@pytest.mark.asyncio
async def test_more_agents_than_are_remembered(engine: SQLiteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oacp_storage_sqlite.writer._REMEMBERED", 3)
    for sequence in (1, 2, 3):
        units = [appends(f"agent {n}", [f"{n} {sequence}"]) for n in range(10)]
        assert await engine.commit("1", units, deadline=soon()) == [Applied((sequence,))] * 10


# --- reading -------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_pages_end_by_count_and_by_size(engine: SQLiteEngine) -> None:
    await engine.commit(
        "1", [appends("a", [str(n) for n in range(10)], body=b'{"n":"' + b"x" * 92 + b'"}')], deadline=soon()
    )

    async def page(
        low: int, high: int | None, limit: int, max_bytes: int = BIG, *, reverse: bool = False
    ) -> Page:
        return await engine.read_log("a", low, high, reverse=reverse, limit=limit, max_bytes=max_bytes)

    def shape(page: Page) -> tuple[list[int], int, int | None]:
        return [record.sequence for record in page.records], page.head, page.next

    assert shape(await page(0, None, 0)) == ([], 10, None)
    assert shape(await page(0, None, 3)) == ([1, 2, 3], 10, 3)
    assert shape(await page(3, 6, 9)) == ([4, 5], 10, None)
    assert shape(await page(7, None, 3)) == ([8, 9, 10], 10, None)
    assert shape(await page(0, None, 3, reverse=True)) == ([10, 9, 8], 10, 8)
    assert shape(await page(2, 6, 9, reverse=True)) == ([5, 4, 3], 10, None)
    assert shape(await page(0, 4, 3, reverse=True)) == ([3, 2, 1], 10, None)
    assert shape(await page(0, None, 9, 250)) == ([1, 2, 3], 10, 3)
    assert shape(await page(0, None, 9, 1)) == ([1], 10, 1)
    assert shape(await page(0, None, 9, 1, reverse=True)) == ([10], 10, 10)
    assert shape(await page(10, None, 9)) == ([], 10, None)
    assert shape(await page(10**30, None, 9)) == ([], 10, None)
    assert shape(await page(0, 10**30, 2)) == ([1, 2], 10, 2)
    assert shape(await engine.read_log("nobody", 0, None, reverse=False, limit=9, max_bytes=9)) == (
        [],
        0,
        None,
    )


@pytest.mark.asyncio
@pytest.mark.parametrize("reverse", [False, True])
async def test_a_filter_looks_at_a_bounded_stretch_at_a_time(
    engine: SQLiteEngine, monkeypatch: pytest.MonkeyPatch, reverse: bool
) -> None:
    monkeypatch.setattr(reading, "_WINDOW", 4)
    bodies = [b'{"hit":true}' if n in (1, 13, 14, 15, 16, 17, 30) else b'{"hit":false}' for n in range(1, 31)]
    unit = Unit("a", tuple(append("a", str(n), body) for n, body in enumerate(bodies, 1)))
    await engine.commit("1", [unit], deadline=soon())
    hint = Hint(terms=(Term(("hit",), "$eq", True),))
    hits = [1, 13, 14, 15, 16, 17, 30]
    assert await sequences(engine, "a", reverse=reverse, hint=hint) == (hits[::-1] if reverse else hits)
    page = await engine.read_log("a", 1, None, reverse=False, limit=9, max_bytes=BIG, hint=hint)
    assert (page.records, page.next) == ([], 5)
    nothing = Hint(since_us=AT_US + 1)
    assert await sequences(engine, "a", reverse=reverse, hint=nothing) == []


@pytest.mark.asyncio
async def test_counting_needs_no_reading(engine: SQLiteEngine) -> None:
    unit = Unit("a", tuple(append("a", str(n), at_us=AT_US + n) for n in range(1, 11)))
    await engine.commit("1", [unit], deadline=soon())
    assert await engine.count("a", 0, None, None) == 10
    assert await engine.count("a", 3, 7, None) == 3
    assert await engine.count("a", 3, 10**30, None) == 7
    assert await engine.count("a", 10**30, None, None) == 0
    assert await engine.count("a", 0, None, Hint(since_us=AT_US + 3, until_us=AT_US + 5)) == 2
    assert await engine.count("nobody", 0, None, None) == 0


NAMES = [
    "A",
    "B",
    "a",
    "ab",
    "a\u0300",
    "b",
    "\u00e0",
    "\ue000",
    "\uffff",
    "\U00010000",
    "\U0001f600",
    "\U0010ffff",
]


@pytest.mark.asyncio
async def test_names_are_listed_by_code_points(engine: SQLiteEngine) -> None:
    assert sorted(NAMES) == NAMES
    units = [appends(name, ["1"]) for name in reversed(NAMES)]
    units += [put(None, DocKind.SYSTEM, name, b"{}") for name in reversed(NAMES)]
    units += [put("a", DocKind.LEARNING, name, b"{}") for name in reversed(NAMES)]
    await engine.commit("1", units, deadline=soon())

    async def listed(prefix: str, after: str | None, limit: int = 100) -> list[str]:
        names = await engine.scan_agents(prefix=prefix, after=after, limit=limit)
        for agent, kind in (("a", DocKind.LEARNING), (None, DocKind.SYSTEM)):
            docs = await engine.scan_docs(agent, kind, prefix=prefix, after=after, limit=limit)
            assert [doc.key for doc in docs] == names
        return names

    assert await listed("", None) == NAMES
    assert await listed("", None, 10**30) == NAMES
    assert await listed("", None, 2) == ["A", "B"]
    assert await listed("a", None) == ["a", "ab", "a\u0300"]
    assert await listed("a", "ab") == ["a\u0300"]
    assert await listed("a", "A") == ["a", "ab", "a\u0300"]
    assert await listed("a", "b") == []
    assert await listed("", "\ud83d") == NAMES[7:]  # a lone surrogate is no name, but it has a place
    assert await listed("\ud83d", None) == []
    assert await listed("a\0", None) == []
    assert await listed("x" * 600, None) == []


@pytest.mark.asyncio
async def test_namespaces_share_nothing(tmp_path: Path, engine: SQLiteEngine) -> None:
    await engine.commit("1", [appends("a", ["1"]), put(None, DocKind.SYSTEM, "k", b"{}")], deadline=soon())
    async with opened(make_engine(tmp_path / "a.db", namespace="other")) as other:
        assert await other.scan_agents(prefix="", after=None, limit=9) == []
        assert await other.read_docs(None, DocKind.SYSTEM, ["k"]) == [None]
        assert await other.commit("1", [appends("a", ["1"])], deadline=soon()) == [Applied((1,))]
        assert (await other.erase("2", "a", begin=True, limit=9, deadline=soon())).interactions == 1
    assert await sequences(engine, "a") == [1]


# --- removing ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_retention_goes_by_steps(engine: SQLiteEngine) -> None:
    unit = Unit("a", tuple(append("a", str(n), at_us=AT_US + n) for n in range(1, 21)))
    await engine.commit("1", [unit, appends("b", ["1", "2"])], deadline=soon())

    async def trim(pick: RetentionPick, *, limit: int = 100, dry_run: bool = False) -> Trimmed:
        agents = ["a", "nobody", "b"]
        return await engine.trim("2", agents, pick, dry_run=dry_run, limit=limit, deadline=soon())

    pick = RetentionPick(None, AT_US + 16, 4)
    assert await trim(pick, dry_run=True) == Trimmed(15)
    assert await trim(pick, limit=7) == Trimmed(7, more=True)
    assert await trim(pick, limit=7) == Trimmed(7, more=True)
    assert await trim(pick, limit=7) == Trimmed(1)
    assert await sequences(engine, "a") == [16, 17, 18, 19, 20]
    ids = RetentionPick(("16", "17", "20", "16", "none"), AT_US + 18, 2)
    assert await trim(ids, dry_run=True) == Trimmed(2)
    assert await trim(ids) == Trimmed(2)
    assert await sequences(engine, "a") == [18, 19, 20]
    assert await trim(RetentionPick(None, None, 10**30)) == Trimmed(0)
    assert await trim(RetentionPick(None, None, 0)) == Trimmed(5)
    assert await engine.commit("3", [appends("a", ["new"])], deadline=soon()) == [Applied((21,))]


@pytest.mark.asyncio
async def test_a_step_ends_when_its_time_is_over(
    engine: SQLiteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_STEP_SECONDS", 0.0)
    await engine.commit("1", [appends("a", [str(n) for n in range(25)])], deadline=soon())
    pick = RetentionPick(None, None, 0)
    steps = [await engine.trim("2", ["a"], pick, dry_run=False, limit=100, deadline=soon()) for _ in range(3)]
    assert steps == [Trimmed(10, more=True), Trimmed(10, more=True), Trimmed(5)]


@pytest.mark.asyncio
async def test_erasing_hides_at_once_and_spares_what_comes_after(
    tmp_path: Path, engine: SQLiteEngine
) -> None:
    units = [
        appends("a", [str(n) for n in range(25)]),
        put("a", DocKind.STATE, "", b"{}"),
        put("a", DocKind.LEARNING, "k", b"{}"),
        put("a", DocKind.LEARNING, "l", b"{}"),
    ]
    await engine.commit("1", units, deadline=soon())
    first = await engine.erase("2", "a", begin=True, limit=10, deadline=soon())
    assert first == (25, 1, 2, True)
    assert await sequences(engine, "a") == []
    assert await engine.read_docs("a", DocKind.LEARNING, ["k"]) == [None]
    assert await engine.scan_agents(prefix="", after=None, limit=9) == []
    assert await engine.commit("3", [appends("a", ["0"])], deadline=soon()) == [Applied((26,))]
    while (await engine.erase("4", "a", begin=False, limit=10, deadline=soon())).more:
        pass
    assert await sequences(engine, "a") == [26]
    with plain(tmp_path / "a.db") as connection:
        assert connection.execute("SELECT count(*) FROM oacp_interactions").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM oacp_documents").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM oacp_tombstones").fetchone() == (0,)
    nothing = await engine.erase("5", "nobody", begin=True, limit=10, deadline=soon())
    assert nothing == (0, 0, 0, False)


@pytest.mark.asyncio
async def test_the_next_open_completes_an_interrupted_erasure(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(make_engine(path)) as engine:
        await engine.commit(
            "1", [appends("Ann of Cleves", [str(n) for n in range(50)], body=SECRET)], deadline=soon()
        )
        assert (await engine.erase("2", "Ann of Cleves", begin=True, limit=10, deadline=soon())).more
        with plain(path) as connection:
            assert connection.execute("SELECT count(*) FROM oacp_interactions").fetchone() == (40,)
    async with opened(make_engine(path, namespace="whatever")):
        with plain(path) as connection:
            assert connection.execute("SELECT count(*) FROM oacp_interactions").fetchone() == (0,)
            assert connection.execute("SELECT count(*) FROM oacp_erasing").fetchone() == (0,)
            (name_hash, head) = connection.execute("SELECT * FROM oacp_tombstones").fetchone()
    assert (len(name_hash), head) == (32, 50)
    content = path.read_bytes()
    assert b"Cleves" not in content
    assert SECRET not in content


# --- waiting and ending --------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("wal", [True, False])
async def test_a_locked_database_is_waited_for_until_the_deadline(tmp_path: Path, wal: bool) -> None:
    path = tmp_path / "a.db"
    async with opened(make_engine(path, wal=wal)) as engine:
        await engine.commit("1", [appends("a", ["1"])], deadline=soon())
        with plain(path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(NotApplied, match="locked"):
                await engine.commit("2", [appends("a", ["2"])], deadline=soon(0.2))
            waiting = asyncio.ensure_future(engine.commit("3", [appends("a", ["2"])], deadline=soon()))
            assert not (await asyncio.wait([waiting], timeout=0.1))[0]
            connection.execute("COMMIT")
            assert await waiting == [Applied((2,))]


@pytest.mark.asyncio
async def test_a_reader_holds_no_writer_up(tmp_path: Path, engine: SQLiteEngine) -> None:
    await engine.commit("1", [appends("a", ["1"])], deadline=soon())
    with plain(tmp_path / "a.db") as connection:
        connection.execute("BEGIN")
        assert connection.execute("SELECT count(*) FROM interactions").fetchone() == (1,)
        await engine.commit("2", [appends("a", ["2"])], deadline=soon(2))
        assert connection.execute("SELECT count(*) FROM interactions").fetchone() == (1,)


@pytest.mark.asyncio
async def test_a_closed_engine_says_so(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "a.db")
    async with opened(engine):
        pass
    await engine.close()
    with pytest.raises(StorageClosedError):
        await engine.commit("1", [appends("a", ["1"])], deadline=soon())


@pytest.mark.asyncio
async def test_the_condition_is_read_from_the_store(engine: SQLiteEngine) -> None:
    info = await engine.inspect()
    assert isinstance(info, Info)
    assert info.schema_version == 1
