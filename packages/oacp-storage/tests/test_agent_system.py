"""The agent system: with any storage, and after a crash anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from oacp_storage.agent_system import AgentSystem, Contribution, Message
from oacp_storage.demo.library import PASSAGES, QUESTIONS
from oacp_storage.demo.team import MAX_WORDS, make_team, sentences, words
from oacp_storage_core import MemoryStorage, StorageBackend, StorageWrapper, Turn

TASKS = [{"question": question} for question in QUESTIONS]


class FourMethods(StorageBackend):
    """The least that a backend can be."""

    def __init__(self) -> None:
        self.log: dict[str, list[dict[str, Any]]] = {}
        self.states: dict[str, dict[str, Any]] = {}

    async def store_interaction(self, agent_id: str, interaction: dict[str, Any]) -> str:
        self.log.setdefault(agent_id, []).append(interaction)
        return f"{agent_id}:{len(self.log[agent_id])}"

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        return self.log.get(agent_id, [])[-limit:]

    async def store_agent_state(self, agent_id: str, state: dict[str, Any]) -> None:
        self.states[agent_id] = state

    async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
        return self.states.get(agent_id)


async def work(storage: StorageBackend, turns: int | None = None) -> list[Message]:
    """A new system over the storage; it is dropped after that many turns."""
    said = []
    system = AgentSystem(agents=make_team(), storage=storage)
    running = system.run(TASKS)
    async for message in running:
        said.append(message)
        if len(said) == turns:
            break
    await running.aclose()
    return said


async def kept(storage: StorageBackend) -> list[Message]:
    """Everything in the logs, by task and turn."""
    messages = [
        one for agent in make_team() for one in await storage.get_interactions(agent.name, limit=1000)
    ]
    return sorted(messages, key=lambda one: (one["task"], one["turn"]))


@pytest.mark.asyncio
@pytest.mark.parametrize("make", [MemoryStorage, FourMethods])
async def test_the_team_answers_every_question(make: type[StorageBackend]) -> None:
    storage = make()
    said = await work(storage)
    answers = [message for message in said if message["type"] == "answer"]
    assert [message["task"] for message in answers] == list(range(len(QUESTIONS)))
    for question, answer in zip(QUESTIONS, answers, strict=True):
        body, _, sources = answer["text"].partition(" [")
        assert set(words(question)) <= set(words(body)), question
        assert len(body.split()) <= MAX_WORDS
        for sentence in sentences(body):
            assert any(sentence in PASSAGES[name] for name in sources.rstrip("]").split(", "))
    assert [message["drafts"] for message in answers] == [2] + [1] * (len(QUESTIONS) - 1)
    assert await kept(storage) == said


@pytest.mark.asyncio
@pytest.mark.parametrize("make", [MemoryStorage, FourMethods])
async def test_it_goes_on_after_any_turn(make: type[StorageBackend]) -> None:
    """A new system after each turn of the first tasks, one after the other over the same storage."""
    whole = await work(make())
    storage, said = make(), []
    for _ in range(30):
        said += await work(storage, turns=1)
    said += await work(storage)
    assert said == whole
    assert await kept(storage) == whole
    assert await work(storage) == []


class Crash(Exception):
    """The process ends here."""


class CrashingOnce(StorageWrapper):
    """Crashes in the given ``record_turn``, before or after it was stored."""

    turns = 0
    at = 0
    stored = False

    async def record_turn(self, agent_id: str, **keywords: Any) -> Turn:
        self.turns += 1
        if self.turns == self.at and not self.stored:
            raise Crash
        turn = await super().record_turn(agent_id, **keywords)
        if self.turns == self.at:
            raise Crash
        return turn


@pytest.mark.asyncio
@pytest.mark.parametrize("stored", [False, True])
async def test_a_turn_that_was_never_acknowledged_is_there_once(stored: bool) -> None:
    whole = await work(MemoryStorage())
    for at in range(1, len(whole) + 1):
        memory = MemoryStorage()
        storage = CrashingOnce(memory)
        storage.at, storage.stored = at, stored
        with pytest.raises(Crash):
            await work(storage)
        assert len(await kept(memory)) == at - 1 + stored
        rest = await work(memory)
        assert await kept(memory) == whole
        assert rest == whole[at - 1 + stored :]
        for agent in make_team():
            sequences = [one.sequence async for one in memory.iter_interactions(agent.name)]
            assert sequences == list(range(1, len(sequences) + 1))


class Talker:
    """Always has something to say, until twenty turns have been taken."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def act(
        self, task: dict[str, Any], said: Sequence[Message], memory: Mapping[str, dict[str, Any]]
    ) -> Contribution | None:
        return Contribution({"text": f"I am {self.name}"}, done=len(said) == 19)


@pytest.mark.asyncio
@pytest.mark.parametrize("interrupted", [1, 7, 12])
async def test_after_the_last_speaker_comes_the_next(interrupted: int) -> None:
    storage = MemoryStorage()
    speakers: list[str] = []
    for turns in (interrupted, 20):
        running = AgentSystem(agents=[Talker(name) for name in "abc"], storage=storage).run([{}])
        async for message in running:
            speakers.append(message["agent"])
            if len(speakers) == turns:
                break
        await running.aclose()
    assert "".join(speakers) == ("abc" * 7)[:20]


@pytest.mark.asyncio
async def test_four_methods_keep_what_was_learned_in_the_state() -> None:
    storage = FourMethods()
    await work(storage)
    assert storage.states["writer"]["learned"] == {"style": {"max_words": MAX_WORDS, "name_sources": True}}
    memory = MemoryStorage()
    await work(memory)
    assert await memory.get_learning_data("writer", "style") == storage.states["writer"]["learned"]["style"]


@pytest.mark.asyncio
async def test_a_task_that_nobody_can_go_on_with_is_an_error() -> None:
    class Silent:
        name = "silent"

        async def act(
            self, task: dict[str, Any], said: Sequence[Message], memory: Mapping[str, dict[str, Any]]
        ) -> Contribution | None:
            return Contribution({"text": "hm"}) if not said else None

    system = AgentSystem(agents=[Silent()], storage=MemoryStorage())
    with pytest.raises(RuntimeError, match="task 0 is not done"):
        async for _ in system.run([{}]):
            pass


@pytest.mark.asyncio
async def test_a_team_that_does_not_know_better_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """No passage says anything of cheese, and no draft can: the team does not go round in circles."""
    system = AgentSystem(agents=make_team(), storage=MemoryStorage())
    with pytest.raises(RuntimeError, match="no agent has anything to say"):
        async for _ in system.run([{"question": "Is the Moon made of cheese?"}]):
            pass
