"""A wrapper passes every call on, all arguments and all results, or refuses what it does not declare."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from oacp_storage_core import (
    ALL_CAPABILITIES,
    Capability,
    MemoryStorage,
    Storage,
    StorageBackend,
    StorageClosedError,
    StorageWrapper,
    UnsupportedOperationError,
    adapt,
)

METHODS = {
    name: member
    for cls in (StorageBackend, Storage)
    for name, member in vars(cls).items()
    if not name.startswith("_") and inspect.isfunction(member)
}


class Recorder(Storage):
    """Notes every call; each method answers with an object of its own."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answer = object()

    # Each is given its recording method below.
    store_interaction: Any = None
    get_interactions: Any = None
    store_agent_state: Any = None
    get_agent_state: Any = None


def recording(name: str) -> Any:
    signature = inspect.signature(METHODS[name])

    def note(self: Recorder, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
        bound = signature.bind(self, *arguments, **keywords)
        bound.apply_defaults()
        self.calls.append((name, {key: value for key, value in bound.arguments.items() if key != "self"}))
        return self.answer

    async def awaited(self: Recorder, *arguments: Any, **keywords: Any) -> object:
        return note(self, arguments, keywords)

    def plain(self: Recorder, *arguments: Any, **keywords: Any) -> object:
        return note(self, arguments, keywords)

    return awaited if inspect.iscoroutinefunction(METHODS[name]) else plain


for _name in METHODS:
    setattr(Recorder, _name, recording(_name))
Recorder.__abstractmethods__ = frozenset()


def arguments_of(name: str) -> dict[str, object]:
    """A distinct object for every parameter of a method."""
    return {parameter: object() for parameter in list(inspect.signature(METHODS[name]).parameters)[1:]}


async def call(storage: Storage, name: str, arguments: dict[str, object]) -> object:
    result = getattr(storage, name)(**arguments)
    return await result if inspect.isawaitable(result) else result


def test_there_is_something_to_pass_on() -> None:
    assert len(METHODS) > 30
    assert {
        "open",
        "close",
        "iter_interactions",
        "watch_interactions",
        "verify",
        "import_records",
    } <= METHODS.keys()


@pytest.mark.asyncio
@pytest.mark.parametrize("name", METHODS)
async def test_every_method_is_passed_on_with_all_its_arguments(name) -> None:
    recorder = Recorder()
    arguments = arguments_of(name)
    answer = await call(StorageWrapper(recorder), name, arguments)
    assert recorder.calls == [(name, arguments)]
    if inspect.signature(METHODS[name]).return_annotation != "None":
        assert answer is recorder.answer


@pytest.mark.asyncio
@pytest.mark.parametrize("name", METHODS)
async def test_defaults_are_those_of_the_interface(name) -> None:
    required = [
        p for p, one in inspect.signature(METHODS[name]).parameters.items() if one.default is one.empty
    ][1:]
    arguments: dict[str, object] = {parameter: object() for parameter in required}
    direct, wrapped = Recorder(), Recorder()
    await call(direct, name, arguments)
    await call(StorageWrapper(wrapped), name, arguments)
    assert wrapped.calls == direct.calls


@pytest.mark.parametrize("name", METHODS)
def test_every_method_stands_in_the_wrapper_with_the_same_signature(name) -> None:
    assert inspect.signature(vars(StorageWrapper)[name]) == inspect.signature(METHODS[name])
    assert inspect.iscoroutinefunction(vars(StorageWrapper)[name]) == inspect.iscoroutinefunction(
        METHODS[name]
    )


@pytest.mark.asyncio
async def test_it_is_a_storage_like_the_one_it_wraps() -> None:
    wrapper = StorageWrapper(MemoryStorage())
    assert wrapper.capabilities == ALL_CAPABILITIES
    assert (wrapper.durable, wrapper.multiprocess) == (False, False)
    async with wrapper:
        await wrapper.store_interaction("a", {"n": 1}, interaction_id="i")
        await wrapper.store_interactions("a", [{"n": 2}])
        assert [one.data async for one in wrapper.iter_interactions("a", reverse=True)] == [
            {"n": 2},
            {"n": 1},
        ]
        assert await wrapper.get_interactions("a", 1) == [{"n": 2}]
        assert await wrapper.store_agent_state("a", {}, expected_version=0) == 1
        assert [damage async for damage in wrapper.verify()] == []
    with pytest.raises(StorageClosedError):
        await wrapper.wrapped.get_interactions("a")


def test_it_has_no_capability_that_the_wrapped_storage_lacks(site) -> None:
    site.install_backend("four")
    from oacp_storage_core import create_storage

    wrapper = StorageWrapper(create_storage("four"))
    assert wrapper.capabilities == frozenset()
    assert adapt(wrapper) is wrapper


class OnlyHistory(StorageWrapper):
    declares = frozenset({Capability.HISTORY})


@pytest.mark.asyncio
async def test_what_a_wrapper_does_not_declare_does_not_pass_it() -> None:
    recorder = Recorder()
    wrapper = OnlyHistory(recorder)
    always = {"open", "close", "missing_store", "health", "get_interactions", "get_agent_state"}
    history = {"iter_interactions", "get_interaction", "count_interactions"}
    for name in METHODS:
        if name in always | history:
            await call(wrapper, name, arguments_of(name))
        else:  # store_interaction and store_agent_state: with the keywords of a capability
            with pytest.raises(
                UnsupportedOperationError, match="OnlyHistory does not declare the capability"
            ):
                await call(wrapper, name, arguments_of(name))
    assert {name for name, _ in recorder.calls} == always | history
    await wrapper.store_interaction("a", {})
    await wrapper.store_agent_state("a", {})
    assert [name for name, _ in recorder.calls[-2:]] == ["store_interaction", "store_agent_state"]


def test_its_capabilities_are_those_that_both_have() -> None:
    assert OnlyHistory(MemoryStorage()).capabilities == {Capability.HISTORY}
