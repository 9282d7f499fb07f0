"""The demo's team: five agents that follow rules, so that the demo needs no model and always goes the same way.

The planner takes a question apart, the researcher finds passages, the writer drafts an answer from them, the
checker and the editor vote on it. A draft that is voted down is written again, and the writer learns what the
editor wants; with that in its memory, later drafts pass at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import log
from typing import Any

from oacp_storage.agent_system import Agent, Contribution, Message
from oacp_storage.demo.library import PASSAGES

MAX_WORDS = 35
"""How long an answer the editor lets pass."""

_COMMON = re.compile(
    "a|all|an|and|are|as|at|away|be|by|come|do|does|every|from|have|how|in|is|it|its|not|of|on|or|so|that|the|there|"
    "they|this|to|was|what|when|where|which|while|why|with"
)


def words(text: str) -> list[str]:
    """The telling words of a text, in the singular."""
    found = re.findall(r"[a-z0-9.]*[a-z0-9]", text.lower())
    return [re.sub(r"(?<!s)s$", "", word) for word in found if not _COMMON.fullmatch(word)]


def sentences(text: str) -> list[str]:
    """A text, sentence by sentence."""
    return re.split(r"(?<=\.) ", text)


def latest(said: Sequence[Message], kind: str) -> Message | None:
    """The newest message of that type."""
    return next((message for message in reversed(said) if message["type"] == kind), None)


def votes(said: Sequence[Message]) -> list[Message]:
    """The votes on the newest draft."""
    drafts = [turn for turn, message in enumerate(said) if message["type"] == "draft"]
    return [message for message in said[drafts[-1] :] if message["type"] == "vote"] if drafts else []


class Planner:
    """Says which words matter in a question, and closes it once everybody has voted for the answer."""

    name = "planner"

    async def act(
        self, task: dict[str, Any], said: Sequence[Message], memory: Mapping[str, dict[str, Any]]
    ) -> Contribution | None:
        """The plan first, the answer last."""
        if not said:
            terms = list(dict.fromkeys(words(task["question"])))
            return Contribution({"type": "plan", "terms": terms, "text": f"look for {', '.join(terms)}"})
        draft, cast = latest(said, "draft"), votes(said)
        if draft is None or not cast or not all(vote["approve"] for vote in cast):
            return None
        answered = memory.get("experience", {}).get("answered", 0)
        answer = {
            "type": "answer",
            "text": draft["text"],
            "drafts": sum(one["type"] == "draft" for one in said),
        }
        return Contribution(answer, {"experience": {"answered": answered + 1}}, done=True)


class Researcher:
    """Finds the passages that fit the plan; a rare word counts more than one that is everywhere."""

    name = "researcher"

    async def act(
        self, task: dict[str, Any], said: Sequence[Message], memory: Mapping[str, dict[str, Any]]
    ) -> Contribution | None:
        """Looks once for each question."""
        plan = latest(said, "plan")
        if plan is None or latest(said, "evidence") is not None:
            return None
        known = {name: set(words(text)) for name, text in PASSAGES.items()}
        weight = {
            term: log(len(known) / count)
            for term in plan["terms"]
            if (count := sum(term in vocabulary for vocabulary in known.values()))
        }
        score = {name: sum(weight.get(term, 0) for term in known[name]) for name in known}
        best = [name for name in known if score[name] and score[name] >= max(score.values()) / 2]
        return Contribution({"type": "evidence", "passages": best, "text": f"found {' and '.join(best)}"})


class Writer:
    """Drafts an answer of the sentences that fit the plan, in the way that the editor has taught it."""

    name = "writer"

    async def act(
        self, task: dict[str, Any], said: Sequence[Message], memory: Mapping[str, dict[str, Any]]
    ) -> Contribution | None:
        """A first draft, or another one when the last was voted down; None when it knows no better."""
        plan, evidence, draft, cast = (
            latest(said, "plan"),
            latest(said, "evidence"),
            latest(said, "draft"),
            votes(said),
        )
        if plan is None or evidence is None or (draft and all(vote["approve"] for vote in cast)):
            return None
        style = dict(memory.get("style", {}))
        for vote in cast:
            style |= vote["wish"]
        text = self._write(set(plan["terms"]), evidence["passages"], style)
        if draft and draft["text"] == text:
            return None
        learned = {"style": style} if style != memory.get("style", {}) else {}
        return Contribution({"type": "draft", "text": text, "learned": sorted(learned)}, learned)

    def _write(self, terms: set[str], passages: list[str], style: Mapping[str, Any]) -> str:
        """The sentences with the most terms first, as long as they are not too many words."""
        found = [(name, sentence) for name in passages for sentence in sentences(PASSAGES[name])]
        fitting = {sentence: terms & set(words(sentence)) for _, sentence in found}
        chosen: list[tuple[str, str]] = []
        for name, sentence in sorted(found, key=lambda item: -len(fitting[item[1]])):
            length = len(" ".join([*(one for _, one in chosen), sentence]).split())
            if fitting[sentence] and length <= style.get("max_words", 100):
                chosen.append((name, sentence))
        text = " ".join(sentence for _, sentence in chosen)
        if style.get("name_sources"):
            text += f" [{', '.join(sorted({name for name, _ in chosen}))}]"
        return text


class Checker:
    """Votes for a draft that has every word of the plan and nothing that no passage says."""

    name = "checker"

    async def act(
        self, task: dict[str, Any], said: Sequence[Message], memory: Mapping[str, dict[str, Any]]
    ) -> Contribution | None:
        """One vote for each draft."""
        draft, plan = latest(said, "draft"), latest(said, "plan")
        if draft is None or plan is None or any(vote["agent"] == self.name for vote in votes(said)):
            return None
        body = draft["text"].partition(" [")[0]
        missing = [term for term in plan["terms"] if term not in words(body)]
        unknown = [one for one in sentences(body) if not any(one in text for text in PASSAGES.values())]
        problems = [f"it says nothing of {term}" for term in missing] + [
            f"who says: {one}" for one in unknown
        ]
        return Contribution(_vote(problems, {}))


class Editor:
    """Votes for a draft that is short and names its sources."""

    name = "editor"

    async def act(
        self, task: dict[str, Any], said: Sequence[Message], memory: Mapping[str, dict[str, Any]]
    ) -> Contribution | None:
        """One vote for each draft, with what the writer should do from now on."""
        draft = latest(said, "draft")
        if draft is None or any(vote["agent"] == self.name for vote in votes(said)):
            return None
        problems, wish = [], {}
        body, bracket, _ = draft["text"].partition(" [")
        if (count := len(body.split())) > MAX_WORDS:
            problems.append(f"{count} words are too many")
            wish["max_words"] = MAX_WORDS
        if not bracket:
            problems.append("it names no source")
            wish["name_sources"] = True
        return Contribution(_vote(problems, wish))


def _vote(problems: list[str], wish: dict[str, Any]) -> dict[str, Any]:
    text = "no: " + ", and ".join(problems) if problems else "yes"
    return {"type": "vote", "approve": not problems, "wish": wish, "text": text}


def make_team() -> list[Agent]:
    """The five, in the order in which they speak."""
    return [Planner(), Researcher(), Writer(), Checker(), Editor()]
