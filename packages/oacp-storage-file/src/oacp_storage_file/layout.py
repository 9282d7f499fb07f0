"""The layout of a store's directory: where everything is, and what the README in it says."""

from __future__ import annotations

import hashlib
import re

from oacp_storage_engine import DocKind
from oacp_storage_file.naming import Kind, encode

FORMAT = "oacp-storage-file"
SCHEMA = 2

AGENT_FILE = "agent.json"
STATE_FILE = "state.json"
LEARNING = "learning"
SYSTEM = "system"
DOCUMENTS_FILE = "documents.json"
IDS_FILE = "ids.sqlite3"

_DIRECTORIES_KEPT = 50_000

_SEGMENT = re.compile(r"log-(\d{12,})\.jsonl")

GITIGNORE = f"/.oacp/\n/backups/\n{IDS_FILE}*\n"

README = """\
# A store of oacp-storage

This directory is kept by oacp-storage-file. Read it with any tool; change it only through oacp-storage: every
record carries a checksum, and what was edited by hand is reported as damaged.

    format.json                          what this directory is, and the version of its layout
    namespaces/n-NAMESPACE/
        agents/a-AGENT/
            log-000000000001.jsonl       the agent's interactions, one JSON object a line, oldest first;
                                         the number is that of the first one in the file
            state.json                   the agent's state
            learning/k-KEY.json          what the agent learned, a file per key
            agent.json                   which interactions must be in the log, and the last sequence ever; the
                                         whole agent id where the directory's name does not tell it
            documents.json               which of the other files must be there, with their versions
            ids.sqlite3                  an index that is derived from the log; it may be deleted
        system/k-KEY.json                system state, a file per key
        documents.json                   which of them must be there
        erased/                          the last sequences of erased agents, under hashes of their names
    backups/                             consistent copies; each is itself such a directory
    .oacp/                               the journal of the latest commits, and locks

In file names a-z, 0-9 and - stand for themselves; every other byte of a name's UTF-8 is written _xx. A very long
name is cut, followed by its SHA-256, and stands whole inside (agent.json, or "key").

`sequence` counts an agent's interactions. `crc` is CRC-32 (kind, names, time and data, in the way that
oacp-storage-engine describes) XOR the CRC-32 of the sequence, or version, in decimal.

A log or document file that is deleted or cut by hand is missed: reading it is an error, verify names it, and no
sequence is given twice. Put the file back, or accept the loss: `python -m oacp_storage_file accept DIRECTORY`. To
delete, use delete_interactions, delete_agent and the like. A whole agent directory is not missed; agent.json and
documents.json are brought up to date when a program closes the store, and every 32 MiB.

Under version control: .gitignore leaves out what belongs to this machine. Commit, and check out, while no program
has the store open and after the last one closed it properly. Checking out an older state is like restoring a backup:
the store is as it was then, and goes on from there with the sequences and versions of that time.
To copy a store that is in use, make a backup (`python -m oacp_storage_file backup DIRECTORY`).
"""


class Layout:
    """Paths of one store. All are absolute; journal entries name files relative to ``namespaces``."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.format_file = f"{root}/format.json"
        self.readme = f"{root}/README.md"
        self.gitignore = f"{root}/.gitignore"
        self.backups = f"{root}/backups"
        self.namespaces = f"{root}/namespaces"
        self.internal = f"{root}/.oacp"
        self.temporary = f"{self.internal}/new"
        self.trash = f"{self.internal}/trash"
        self.damaged = f"{self.internal}/damaged"

    def inner(self, name: str) -> str:
        """A file of the store's own, a lock for example."""
        return f"{self.internal}/{name}"

    def absolute(self, relative: str) -> str:
        """The path of a file that a journal entry names."""
        return f"{self.namespaces}/{relative}"


class NamespaceLayout:
    """Paths of one namespace, relative to ``namespaces``."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.root = encode(Kind.NAMESPACE, namespace)
        self.agents = f"{self.root}/agents"
        self.system = f"{self.root}/{SYSTEM}"
        self.erased = f"{self.root}/erased"
        self._agent_directories: dict[str, str] = {}

    def agent(self, agent: str) -> str:
        """The directory of an agent."""
        directory = self._agent_directories.get(agent)
        if directory is None:
            if len(self._agent_directories) >= _DIRECTORIES_KEPT:
                self._agent_directories.clear()
            directory = f"{self.agents}/{encode(Kind.AGENT, agent)}"
            self._agent_directories[agent] = directory
        return directory

    def document(self, agent: str | None, kind: DocKind, key: str) -> str:
        """The file of a document."""
        if agent is None:
            return f"{self.system}/{document_name(key)}"
        if kind is DocKind.STATE:
            return f"{self.agent(agent)}/{STATE_FILE}"
        return f"{self.agent(agent)}/{LEARNING}/{document_name(key)}"

    def identity(self, agent: str) -> str:
        """What remains of an erased agent's name."""
        return hashlib.sha256(f"{self.namespace}\0{agent}".encode()).hexdigest()

    def tombstone(self, agent: str) -> str:
        """The file with the last sequence of an erased agent."""
        return f"{self.erased}/{self.identity(agent)}.json"


def segment_name(first: int) -> str:
    """The name of the segment whose first sequence is ``first``."""
    return f"log-{first:012d}.jsonl"


def segment_first(name: str) -> int | None:
    """The first sequence of a segment by its name; None for other names."""
    match = _SEGMENT.fullmatch(name)
    return int(match[1]) if match and segment_name(int(match[1])) == name else None


def document_name(key: str) -> str:
    """The file name of a document by its key."""
    return f"{encode(Kind.KEY, key)}.json"
