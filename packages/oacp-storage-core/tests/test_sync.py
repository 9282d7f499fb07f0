"""``SyncStorage``: the same methods without ``await``."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from oacp_storage_core import (
    ALL_CAPABILITIES,
    CorruptDataError,
    Damage,
    Document,
    DuplicateIdError,
    Interaction,
    MemoryStorage,
    Storage,
    StorageBackend,
    StorageClosedError,
    StorageConfigError,
    StorageUsageError,
    SyncStorage,
    UnsupportedOperationError,
    VersionConflictError,
)
from oacp_storage_core.background_loop import CancellableCall, background_loop
from oacp_storage_core.sync_iterators import StreamIterator, WatchIterator

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SOON = 10.0
"""Seconds after which a test that waits for another thread gives up."""


@pytest.fixture
def sync() -> Iterator[SyncStorage]:
    with SyncStorage("memory") as sync:
        yield sync


# --- the same methods ------------------------------------------------------------------------------------

METHODS = sorted(
    name
    for name, member in inspect.getmembers(Storage)
    if not name.startswith("_") and inspect.isfunction(member)
)


def test_the_methods_are_those_of_the_interface() -> None:
    own = {name for name, member in inspect.getmembers(SyncStorage) if not name.startswith("_")}
    assert own == {*METHODS, "capabilities", "storage"}
    assert len(METHODS) > 30


@pytest.mark.parametrize("name", METHODS)
def test_parameters_and_results_are_the_same(name: str) -> None:
    theirs, ours = getattr(Storage, name), getattr(SyncStorage, name)
    assert inspect.signature(theirs).parameters == inspect.signature(ours).parameters
    assert not inspect.iscoroutinefunction(ours)
    their_hints, our_hints = get_type_hints(theirs), get_type_hints(ours)
    returned, expected = our_hints.pop("return"), their_hints.pop("return")
    assert our_hints == their_hints
    if name == "watch_interactions":
        assert returned is WatchIterator
        assert issubclass(WatchIterator, Iterator)
    elif getattr(expected, "__origin__", None) is AsyncIterator:
        assert returned == Iterator[expected.__args__]  # type: ignore[name-defined]
    else:
        assert returned == expected


class Recorder(Storage):
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.called: list[tuple[str, dict[str, Any]]] = []


def noting(name: str, signature: inspect.Signature) -> Callable[..., Any]:
    def note(self: Recorder, *given: Any, **named: Any) -> dict[str, Any]:
        arguments = signature.bind(self, *given, **named)
        arguments.apply_defaults()
        passed = dict(arguments.arguments)
        del passed["self"]
        self.called.append((name, passed))
        return passed

    async def method(self: Recorder, *given: Any, **named: Any) -> Any:
        return note(self, *given, **named)

    async def stream(self: Recorder, *given: Any, **named: Any) -> AsyncIterator[Any]:
        yield note(self, *given, **named)

    return method if inspect.iscoroutinefunction(getattr(Storage, name)) else stream


def make_recorder() -> Any:
    methods = {name: noting(name, inspect.signature(getattr(Storage, name))) for name in METHODS}
    return type("AllNoted", (Recorder,), methods)()


@pytest.mark.parametrize("name", METHODS)
def test_every_argument_arrives(name: str) -> None:
    recorder = make_recorder()
    sync = SyncStorage(recorder)
    parameters = list(inspect.signature(getattr(SyncStorage, name)).parameters.values())[1:]
    positional = [f"<{one.name}>" for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    named = {one.name: f"<{one.name}>" for one in parameters if one.kind is one.KEYWORD_ONLY}
    result = getattr(sync, name)(*positional, **named)
    if not inspect.iscoroutinefunction(getattr(Storage, name)):
        assert isinstance(result, StreamIterator | WatchIterator)
        next(result)
    elif name not in {"open", "close", "import_records", "import_system_state"}:
        assert result == {one.name: f"<{one.name}>" for one in parameters}
    assert recorder.called == [(name, {one.name: f"<{one.name}>" for one in parameters})]


# --- working with it -------------------------------------------------------------------------------------


def test_a_day_of_an_agent(sync: SyncStorage) -> None:
    assert sync.capabilities == ALL_CAPABILITIES
    assert isinstance(sync.storage, MemoryStorage)
    first = sync.store_interaction("a", {"n": 1}, timestamp=NOW)
    sync.store_interactions("a", [{"n": 2}, Interaction("a", "given", 0, NOW, {"n": 3})])
    assert sync.get_interactions("a", 2) == [{"n": 2}, {"n": 3}]
    assert [one.data["n"] for one in sync.iter_interactions("a", where={"n": {"$gt": 1}}, reverse=True)] == [
        3,
        2,
    ]
    assert sync.get_interaction("a", first) == Interaction("a", first, 1, NOW, {"n": 1})
    assert sync.count_interactions("a") == 3
    assert sync.store_agent_state("a", {"step": 1}, expected_version=0) == 1
    changed = sync.update_agent_state("a", lambda data: {"step": (data or {})["step"] + 1})
    assert changed is not None
    assert (changed.data, changed.version) == ({"step": 2}, 2)
    turn = sync.record_turn("a", interactions=[{"n": 4}], state={"step": 3}, learning={"k": {"x": 1}})
    assert turn.interactions[0].sequence == 4
    assert sync.get_agent_state("a") == {"step": 3}
    assert [one.key for one in sync.list_learning_data("a")] == ["k"]
    sync.import_system_state(Document("setting", {"x": 1}, 7, NOW))
    assert sync.get_system_state_document("setting") == Document("setting", {"x": 1}, 7, NOW)
    assert sync.list_agents() == ["a"]
    assert sync.delete_interactions("a", keep_last=1) == 3
    assert list(sync.verify()) == []
    assert sync.health().durability == "none"
    assert sync.delete_agent("a").interactions == 1


def test_errors_are_those_of_the_storage(sync: SyncStorage) -> None:
    sync.store_interaction("a", {"n": 1}, interaction_id="x")
    with pytest.raises(DuplicateIdError):
        sync.store_interaction("a", {"n": 2}, interaction_id="x")
    with pytest.raises(VersionConflictError) as caught:
        sync.store_agent_state("a", {}, expected_version=3)
    assert (caught.value.expected, caught.value.actual) == (3, 0)
    with pytest.raises(ValueError, match="limit must not be negative"):
        sync.iter_interactions("a", limit=-1)

    def fail(_: object) -> dict[str, Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sync.update_agent_state("a", fail)


def test_async_changes_are_awaited(sync: SyncStorage) -> None:
    async def change(data: dict[str, Any] | None) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"was": data}

    document = sync.update_system_state("k", change)
    assert document is not None
    assert document.data == {"was": None}


def test_with_closes(sync: SyncStorage) -> None:
    with SyncStorage("memory") as closed:
        closed.store_interaction("a", {})
    closed.close()
    with pytest.raises(StorageClosedError):
        closed.get_interactions("a")
    with pytest.raises(StorageClosedError), closed:
        pass


# --- sources ---------------------------------------------------------------------------------------------


class FourMethods(StorageBackend):
    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []

    async def store_interaction(self, agent_id: str, interaction: dict[str, Any]) -> str:
        self.log.append(interaction)
        return str(len(self.log))

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        return self.log[-limit:]

    async def store_agent_state(self, agent_id: str, state: dict[str, Any]) -> None:
        return None

    async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
        return None


def test_takes_what_open_storage_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[str | dict[str, str]] = ["memory", "memory://", {"backend": "memory"}, {"url": "memory://"}]
    for source in sources:
        with SyncStorage(source) as sync:
            assert isinstance(sync.storage, MemoryStorage)
    with SyncStorage("memory", coerce=True) as sync:
        sync.store_interaction("a", {"x": ()})
    with pytest.raises(StorageConfigError):
        SyncStorage("memory", colour="red")
    monkeypatch.setenv("OACP_STORAGE_URI", "memory://?coerce=true")
    with SyncStorage() as sync:
        sync.store_interaction("a", {"x": ()})
    monkeypatch.delenv("OACP_STORAGE_URI")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "oacp.toml").write_text('[storage.main]\nbackend = "memory"\ncoerce = true\n')
    for configured in (None, "main", str(tmp_path / "oacp.toml")):
        with SyncStorage(configured) as sync:
            sync.store_interaction("a", {"x": ()})


def test_takes_a_storage_that_exists() -> None:
    storage = MemoryStorage()
    with SyncStorage(storage) as sync:
        assert sync.storage is storage
    with SyncStorage(FourMethods()) as sync:
        assert sync.store_interaction("a", {"n": 1}) == "1"
        assert sync.get_interactions("a") == [{"n": 1}]
        assert sync.capabilities == frozenset()
        with pytest.raises(UnsupportedOperationError):
            sync.iter_interactions("a")
    with pytest.raises(TypeError, match="a storage that exists takes no options: coerce"):
        SyncStorage(storage, coerce=True)


# --- streams ---------------------------------------------------------------------------------------------


class Streams(MemoryStorage):
    """Streams that fail in the middle, and note how far they were read."""

    read = 0

    def iter_interactions(self, agent_id: str, **_: Any) -> AsyncIterator[Interaction]:
        return Failing(self)

    async def verify(self) -> AsyncIterator[Damage]:
        for n in range(3):
            yield Damage("store", str(n))


class Failing(AsyncIterator[Interaction]):
    """Numbers from 1 to 100; 10, 11 and 50 are damaged."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams

    async def __anext__(self) -> Interaction:
        self.streams.read += 1
        number = self.streams.read
        if number in {10, 11, 50}:
            raise CorruptDataError(str(number), sequence=number)
        if number > 100:
            raise StopAsyncIteration
        return Interaction("a", str(number), number, NOW, {})


def test_an_error_comes_at_its_place_and_iteration_goes_on() -> None:
    sync = SyncStorage(Streams())
    stream = sync.iter_interactions("a")
    seen = []
    while True:
        try:
            seen.append(f"{next(stream).sequence}")
        except CorruptDataError as exc:
            seen.append(f"damaged {exc.sequence}")
        except StopIteration:
            break
    assert seen == [f"damaged {n}" if n in {10, 11, 50} else f"{n}" for n in range(1, 101)]
    with pytest.raises(StopIteration):
        next(stream)
    assert [one.reason for one in sync.verify()] == ["0", "1", "2"]


def test_streams_read_only_a_little_ahead() -> None:
    streams = Streams()
    stream = SyncStorage(streams).iter_interactions("a")
    assert streams.read == 0, "nothing is read before the first step"
    next(stream)
    assert streams.read <= 40


def test_long_streams(sync: SyncStorage) -> None:
    sync.store_interactions("a", [{"n": n} for n in range(1000)])
    assert [one.data["n"] for one in sync.iter_interactions("a")] == list(range(1000))


def test_threads_may_share_a_stream(sync: SyncStorage) -> None:
    sync.store_interactions("a", [{"n": n} for n in range(1000)])
    stream = sync.iter_interactions("a")
    found: list[int] = []
    run_in_threads(8, lambda: found.extend(one.sequence for one in stream))
    assert sorted(found) == list(range(1, 1001))


def test_threads_may_share_a_stream_that_cannot_be_read_twice_at_once() -> None:
    async def numbers() -> AsyncIterator[int]:
        for n in range(1000):
            await asyncio.sleep(0)
            yield n

    stream = StreamIterator(numbers())
    found: list[int] = []
    run_in_threads(8, lambda: found.extend(stream))
    assert sorted(found) == list(range(1000))


# --- watching --------------------------------------------------------------------------------------------


def test_watching(sync: SyncStorage) -> None:
    sync.store_interactions("a", [{}] * 2)
    watch = sync.watch_interactions("a", after=0)
    assert iter(watch) is watch
    assert [next(watch).sequence, next(watch).sequence] == [1, 2]
    assert watch.wait(0) is None
    assert watch.wait(timeout=0.01) is None
    timer = threading.Timer(0.05, sync.store_interaction, ("a", {"n": 3}))
    timer.start()
    found = watch.wait(SOON)
    assert found is not None
    assert found.data == {"n": 3}
    timer.join()


def test_a_wait_that_ended_without_result_loses_nothing(sync: SyncStorage) -> None:
    watch = sync.watch_interactions("a")
    assert watch.wait(0) is None, "this first step decides where the watch begins"
    for expected in range(1, 20):
        sync.store_interaction("a", {})
        found = None
        while found is None:
            found = watch.wait(0)
        assert found.sequence == expected
        assert watch.wait(0) is None


def test_a_wait_that_ended_without_result_does_not_end_the_stream() -> None:
    gate: asyncio.Queue[int] = asyncio.Queue()

    async def stream() -> AsyncIterator[Interaction]:  # a cancellation would end it
        while True:
            yield Interaction("a", "i", await gate.get(), NOW, {})

    watch = WatchIterator(stream())
    for expected in range(1, 4):
        assert watch.wait(0) is None
        assert watch.wait(0.001) is None
        background_loop().call(gate.put(expected))
        found = watch.wait(SOON)
        assert found is not None
        assert found.sequence == expected


def test_a_watch_that_nobody_waits_for_any_more_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    sync = SyncStorage("memory")
    watch = sync.watch_interactions("a")
    assert watch.wait(0) is None
    sync.close()  # ends the step that still waits
    for _ in range(5):
        background_loop().call(asyncio.sleep(0))
    del watch
    gc.collect()
    assert caplog.records == []


def test_close_ends_watching() -> None:
    sync = SyncStorage("memory")
    watch = sync.watch_interactions("a", after=0)
    assert watch.wait(0) is None
    timer = threading.Timer(0.05, sync.close)
    timer.start()
    with pytest.raises(StorageClosedError):
        next(watch)
    with pytest.raises(StorageClosedError):
        watch.wait(0)
    timer.join()


def test_a_stream_that_ends_ends_watching_too() -> None:
    async def none() -> AsyncIterator[Interaction]:
        nothing: list[Interaction] = []
        for one in nothing:
            yield one

    assert list(WatchIterator(none())) == []


# --- threads, loops, interruption ------------------------------------------------------------------------


def run_in_threads(count: int, work: Callable[[], object]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as exc:  # noqa: BLE001 - raised again below, where the test sees it
            failures.append(exc)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures


def test_many_threads_use_one_storage(sync: SyncStorage) -> None:
    def work() -> None:
        for _ in range(25):
            sync.store_interaction("a", {})
            sync.update_agent_state("a", lambda data: {"n": (data or {"n": 0})["n"] + 1})

    run_in_threads(8, work)
    assert sync.get_agent_state("a") == {"n": 200}
    assert [one.sequence for one in sync.iter_interactions("a")] == list(range(1, 201))


def test_all_share_one_thread() -> None:
    storages = [SyncStorage("memory") for _ in range(5)]
    for storage in storages:
        storage.open()
    named = [thread for thread in threading.enumerate() if thread.name == "oacp-storage-sync"]
    assert len(named) == 1
    assert named[0].daemon


def test_works_where_a_loop_is_running(sync: SyncStorage) -> None:
    """As in a notebook."""

    async def cell() -> list[dict[str, Any]]:
        sync.store_interaction("a", {"n": 1})
        return sync.get_interactions("a")

    assert asyncio.run(cell()) == [{"n": 1}]


def test_from_its_own_loop_it_says_why_it_cannot_work(sync: SyncStorage) -> None:
    def change(_: dict[str, Any] | None) -> dict[str, Any]:
        return {"n": sync.count_interactions("a")}

    with pytest.raises(StorageUsageError, match="called from its own event loop"):
        sync.update_agent_state("a", change)
    assert sync.get_agent_state("a") is None, "the storage goes on working"


def test_a_storage_in_use_by_another_loop_is_refused() -> None:
    storage = MemoryStorage()
    sync = SyncStorage(storage)

    async def main() -> None:
        await storage.store_interaction("a", {})
        with pytest.raises(StorageUsageError, match="another event loop that is still running"):
            await asyncio.to_thread(sync.get_interactions, "a")

    asyncio.run(main())
    assert sync.get_interactions("a") == [{}], "now that loop has ended"


needs_signals = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="this system cannot send a signal to a thread"
)


class Slow(MemoryStorage):
    """Waits for ever, and notes that it was cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.started = threading.Event()
        self.cancelled = threading.Event()

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return []


@contextmanager
def interrupted_when(condition: Callable[[], object]) -> Iterator[None]:
    """The block ends with the KeyboardInterrupt that comes when the condition holds."""
    main = threading.get_ident()

    def interrupt() -> None:
        until = time.monotonic() + SOON
        while not condition() and time.monotonic() < until:
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    thread.join()


@needs_signals
def test_an_interruption_cancels_the_call() -> None:
    for _ in range(20):
        storage = Slow()
        sync = SyncStorage(storage)
        with interrupted_when(storage.started.is_set):
            sync.get_interactions("a")
        assert storage.cancelled.wait(SOON)
        sync.store_interaction("a", {})
        assert sync.count_interactions("a") == 1, "the storage goes on working"


@needs_signals
def test_an_interrupted_watch_loses_nothing(sync: SyncStorage) -> None:
    data = vars(sync.storage)["_data"]
    watch = sync.watch_interactions("a", after=0)
    for expected in range(1, 6):
        with interrupted_when(lambda: data.bells):
            next(watch)
        sync.store_interaction("a", {})
        found = watch.wait(SOON)
        assert found is not None
        assert found.sequence == expected


def test_what_is_cancelled_before_it_begins_does_not_begin() -> None:
    began = []

    async def work() -> None:
        began.append(1)

    async def main() -> None:
        call = CancellableCall(work())
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.run()

    asyncio.run(main())
    assert not began


# --- the end of the process, and forks -------------------------------------------------------------------


def run_script(script: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *flags, "-c", textwrap.dedent(script)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")], ids=["plain", "dev"])
def test_nothing_keeps_the_interpreter_from_exiting(flags: tuple[str, ...]) -> None:
    started = time.monotonic()
    done = run_script(
        """
        import atexit, threading
        from oacp_storage_core import SyncStorage

        sync = SyncStorage("memory")
        atexit.register(lambda: print("at exit:", sync.count_interactions("a")))
        sync.store_interaction("a", {})
        watch = sync.watch_interactions("a")
        assert watch.wait(0) is None
        threading.Thread(target=watch.wait, daemon=True).start()
        print("end of the script")
        """,
        *flags,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("end of the script\nat exit: 1\n", "", 0)
    assert time.monotonic() - started < 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_starts_a_loop_of_its_own() -> None:
    done = run_script(
        """
        import os, threading, warnings
        from oacp_storage_core import SyncStorage

        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is the point here
        sync = SyncStorage("memory")
        sync.store_interaction("a", {})
        watch = sync.watch_interactions("a", after=1)
        assert watch.wait(0) is None
        child = os.fork()
        if child == 0:
            sync.store_interaction("a", {"of": "the child"})
            assert sync.count_interactions("a") == 2
            assert watch.wait(10).data == {"of": "the child"}
            print("the child has a copy", flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert sync.count_interactions("a") == 1
        sync.store_interaction("a", {"of": "the parent"})
        assert watch.wait(10).data == {"of": "the parent"}
        print("the parent goes on")
        """,
        "-X",
        "dev",
    )
    assert (done.stdout, done.stderr, done.returncode) == (
        "the child has a copy\nthe parent goes on\n",
        "",
        0,
    )
