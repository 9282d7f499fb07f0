"""The demo's story, act by act: the team works, is killed, goes on, and moves to another storage.

Every claim is checked against the storage before it is printed; one that does not hold fails the demo.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from oacp_storage.agent_system import AgentSystem, Message
from oacp_storage.copying import compare_storages, copy_storage
from oacp_storage.demo.library import QUESTIONS
from oacp_storage.demo.team import make_team
from oacp_storage.exits import Status, Stop
from oacp_storage.exporting import all_agents
from oacp_storage_core import Interaction, MemoryStorage, Storage, load_backend, open_storage

THINK = 0.03
"""Seconds that an agent takes for a turn, so that there is a middle of the work to be killed in."""

_AHEAD = 5
"""How many turns the team may take beyond the one after which it is killed."""

Log = dict[str, list[Interaction]]
"""The interactions of every agent."""


class Story:
    """Tells the demo on a console, with everything that it makes in ``directory``.

    ``database`` is the URL of the SQLite file.
    """

    def __init__(self, console: Console, directory: Path, kill_after: int) -> None:
        self._console = console
        place = quote(directory.as_posix())
        self.database = f"sqlite:///{place}/team.db"
        self._files = f"file:///{place.removeprefix('/')}/copy"
        self._kill_after = kill_after
        self._failed = False

    async def tell(self) -> Status:
        """All acts, one after the other; ``Status.FOUND`` when a claim did not hold."""
        for name in ("sqlite", "file"):
            load_backend(name)  # before anything is told: one that is broken is one line
        expected = await self._without_a_kill()
        total = sum(map(len, expected.values()))
        if not 1 <= self._kill_after <= total - 2:
            raise Stop(f"--kill-after must be 1 to {total - 2}: the team takes {total} turns", Status.USAGE)
        self._say(
            f"AI agents forget everything when their process ends. Here, {len(expected)} agents answer "
            f"{len(QUESTIONS)} questions, and what they say, learn and plan to do next is kept in one SQLite file: "
            f"{self.database}"
        )
        acknowledged = self._work_until_killed(total)
        await self._look(acknowledged)
        self._work_to_the_end(total)
        await self._check(expected)
        await self._move()
        return Status.FOUND if self._failed else Status.OK

    async def _without_a_kill(self) -> Log:
        """What the same team does when nothing happens to it: the rules leave nothing to chance."""
        async with MemoryStorage() as storage:
            system = AgentSystem(agents=make_team(), storage=storage)
            async for _ in system.run([{"question": question} for question in QUESTIONS]):
                pass
            return await _logs(storage)

    def _work_until_killed(self, total: int) -> list[Message]:
        """Act one. The messages that were acknowledged before the process was gone."""
        self._title("1", "The team works")
        acknowledged: list[Message] = []
        hold = min(self._kill_after + _AHEAD, total - 1)
        with _worker(self.database, "--think", str(THINK), "--hold-after", str(hold)) as worker:
            for message in _messages(worker):
                acknowledged.append(message)
                if len(acknowledged) == self._kill_after:
                    worker.kill()
                if len(acknowledged) <= self._kill_after:
                    self._narrate(message)
        last = acknowledged[-1] if acknowledged else None
        self._title("2", "Its process is killed")
        self._say(
            "SIGKILL, in the middle of the work: no warning, no time to save anything. The last that was heard of "
            f"it: {last['agent']}, on {QUESTIONS[last['task']]!r}"
            if last
            else "It was never heard of."
        )
        self._claim(
            f"it died of the kill, after {len(acknowledged)} of {total} turns",
            worker.returncode == (-signal.SIGKILL if sys.platform != "win32" else 1)
            and self._kill_after <= len(acknowledged) < total,
        )
        return acknowledged

    async def _look(self, acknowledged: list[Message]) -> None:
        """Whether everything acknowledged is in the file."""
        async with open_storage(self.database) as storage:
            kept = [one.data for log in (await _logs(storage)).values() for one in log]
        lost = [message for message in acknowledged if message not in kept]
        more = len(kept) - len(acknowledged)
        self._claim(
            f"{len(acknowledged)} turns were acknowledged, {len(acknowledged) - len(lost)} of them are in the file"
            + (f"; {more} more was kept just before the end" if more > 0 else ""),
            not lost and more in {0, 1},
        )

    def _work_to_the_end(self, total: int) -> None:
        """Act three: a new process, which knows nothing but the file."""
        self._title("3", "A new process goes on with the same file")
        with _worker(self.database, "--think", str(THINK)) as worker:
            for place, message in enumerate(_messages(worker)):
                if place == 0:
                    self._say(
                        f"It finds the state of each agent and goes on with {QUESTIONS[message['task']]!r}, where "
                        f"{message['turn']} turns had been taken. {message['agent'].capitalize()} is next."
                        if message["turn"]
                        else f"It finds the state of each agent and goes on with {QUESTIONS[message['task']]!r}."
                    )
                self._narrate(message)
        self._claim("it finished the work", worker.returncode == 0)

    async def _check(self, expected: Log) -> None:
        async with open_storage(self.database) as storage:
            logs = await _logs(storage)
            style = await storage.get_learning_data_document("writer", "style")
        turns = [(one.data["task"], one.data["turn"]) for log in logs.values() for one in log]
        self._claim(
            f"nothing was done twice: {len(turns)} turns, {len(set(turns))} different ones",
            len(turns) == len(set(turns)),
        )
        self._claim(
            "nothing is missing: each agent's log is numbered 1, 2, 3 ... without a gap",
            all([one.sequence for one in log] == [*range(1, len(log) + 1)] for log in logs.values()),
        )
        self._claim(
            "the team said, word for word, what it says when nobody kills it",
            _plain(logs) == _plain(expected),
        )
        drafts = [one.data["drafts"] for one in logs["planner"] if one.data["type"] == "answer"]
        self._claim(
            f"the writer learned once, and still knows it: drafts for each answer: {', '.join(map(str, drafts))}",
            style is not None and style.version == 1 and drafts == [max(drafts)] + [1] * (len(QUESTIONS) - 1),
        )

    async def _move(self) -> None:
        """Act four: the same data in the other kind of store."""
        self._title("4", "The team moves to another storage: JSON files")
        async with open_storage(self.database) as old, open_storage(self._files) as new:
            copied = await copy_storage(old, new)
            result = await compare_storages(old, new)
        self._say(f"Copied to {self._files}")
        self._claim(
            f"{copied.interactions} interactions and {copied.documents} documents, compared one by one: "
            f"{result.differences or 'none'} differ{'s' if result.differences == 1 else ''}",
            result.equal and result.interactions == copied.interactions > 0,
        )

    def _narrate(self, message: Message) -> None:
        """The first question in full, of the others what came of them."""
        if message["turn"] == 0:
            self._say(f"\n{QUESTIONS[message['task']]}", style="bold")
        if message["task"] == 0 or message["type"] == "answer":
            line = Table.grid(padding=(0, 2, 0, 0))
            line.add_column(width=10)
            line.add_row(message["agent"], _gist(message))
            self._console.print(Padding(line, (0, 0, 0, 2), expand=False))

    def _claim(self, text: str, holds: bool) -> None:
        self._failed = self._failed or not holds
        mark = Text("  ok  ", "green") if holds else Text("FAILED", "bold red")
        self._console.print(Text.assemble(mark, "  ", text), soft_wrap=True)

    def _title(self, number: str, text: str) -> None:
        self._console.print(Text(f"\n{number}. {text}", "bold cyan"))

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style), soft_wrap=not self._console.is_terminal)


def _gist(message: Message) -> str:
    """A message in one line."""
    match message["type"]:
        case "draft":
            learned = "has learned from that; " if message["learned"] else ""
            return f"{learned}drafts {len(message['text'].split())} words"
        case "answer":
            return f"answer: {message['text']}"
        case _:
            return str(message["text"])


@contextmanager
def _worker(url: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The team's process. It never outlives the block."""
    command = [sys.executable, "-m", "oacp_storage.demo.worker", url, *options]
    with subprocess.Popen(  # noqa: S603 - it starts this interpreter
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as worker:
        try:
            yield worker
            worker.wait()
        except BaseException:
            worker.kill()
            raise


def _messages(worker: subprocess.Popen[str]) -> Iterator[Message]:
    """What the process has acknowledged, as it comes, up to its end."""
    for line in worker.stdout or ():
        yield json.loads(line)


async def _logs(storage: Storage) -> Log:
    return {
        agent_id: [one async for one in storage.iter_interactions(agent_id)]
        async for agent_id in all_agents(storage)
    }


def _plain(logs: Log) -> dict[str, list[Any]]:
    """Logs without times, which differ from run to run."""
    return {agent_id: [(one.id, one.sequence, one.data) for one in log] for agent_id, log in logs.items()}
