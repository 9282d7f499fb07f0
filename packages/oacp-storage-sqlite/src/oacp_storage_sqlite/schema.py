"""The schema: what an oacp-storage database looks like inside, how one is made, and how older ones are upgraded.

The comments within the statements stay in the database (``sqlite3 agents.db .schema``): whoever opens the file
with another tool finds the explanation there.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from oacp_storage_core import SchemaVersionError, StorageConfigError
from oacp_storage_engine import pending_upgrades

APPLICATION_ID = 0x4F414350
"""``OACP``: marks the file as ours, for SQLite (``PRAGMA application_id``) and for ``file(1)``."""

INCREMENTAL = 2
"""The value of ``PRAGMA auto_vacuum`` that lets a file shrink bit by bit."""

Step = Callable[[sqlite3.Connection], None]
"""An upgrade from one version to the next, within the transaction that it is called in."""

_TABLES = (
    """\
CREATE TABLE oacp_agents (
    -- One row per agent, from its first write until it is deleted.
    ref       INTEGER PRIMARY KEY AUTOINCREMENT,  -- what other tables call the agent; never used again
    namespace TEXT    NOT NULL,
    name      TEXT    NOT NULL,                   -- the agent_id, exactly as given
    head      INTEGER NOT NULL,                   -- the last sequence assigned, 0 before the first
    UNIQUE (namespace, name)
)""",
    """\
CREATE TABLE oacp_interactions (
    -- The logs of all agents in the order of their commits. Rows are never changed.
    position INTEGER PRIMARY KEY,
    agent    INTEGER NOT NULL,  -- oacp_agents.ref
    sequence INTEGER NOT NULL,  -- the place in the agent's log: 1, 2, 3 ...
    id       TEXT    NOT NULL,
    at_us    INTEGER NOT NULL,  -- microseconds since 1970 UTC
    crc      INTEGER NOT NULL,  -- CRC-32 over names, time and body, plus both halves of sequence
    body     TEXT    NOT NULL   -- the payload as JSON, byte for byte as it is returned
)""",
    "CREATE UNIQUE INDEX oacp_interactions_by_sequence ON oacp_interactions (agent, sequence)",
    # The id comes first: generated ids grow with time, so that new entries of all agents go to one place.
    "CREATE UNIQUE INDEX oacp_interactions_by_id ON oacp_interactions (id, agent)",
    """\
CREATE TABLE oacp_documents (
    -- The versioned documents of agents.
    position INTEGER PRIMARY KEY,
    agent    INTEGER NOT NULL,  -- oacp_agents.ref
    kind     TEXT    NOT NULL,  -- 'state' (its key is '') or 'learning'
    key      TEXT    NOT NULL,
    version  INTEGER NOT NULL,  -- 1, 2, 3 ...
    at_us    INTEGER NOT NULL,  -- when it was stored, as above
    crc      INTEGER NOT NULL,  -- CRC-32 over kind, names, time and body
    body     TEXT    NOT NULL,
    UNIQUE (agent, kind, key)
)""",
    """\
CREATE TABLE oacp_system (
    -- The versioned documents that belong to no agent.
    position  INTEGER PRIMARY KEY,
    namespace TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    at_us     INTEGER NOT NULL,
    crc       INTEGER NOT NULL,
    body      TEXT    NOT NULL,
    UNIQUE (namespace, key)
)""",
    """\
CREATE TABLE oacp_tombstones (
    -- What is left of deleted agents: the last sequence, so that one created again goes on after it.
    name_hash BLOB    PRIMARY KEY,  -- SHA-256 of namespace, NUL and agent_id
    head      INTEGER NOT NULL
) WITHOUT ROWID""",
    """\
CREATE TABLE oacp_erasing (
    -- Deleted agents whose rows are still being removed, a bounded number at a time.
    ref       INTEGER PRIMARY KEY,  -- was oacp_agents.ref
    name_hash BLOB    NOT NULL      -- as in oacp_tombstones
)""",
)

_ISO = (
    r"strftime('%Y-%m-%dT%H:%M:%S', (\1 - ((\1 % 1000000) + 1000000) % 1000000) / 1000000, 'unixepoch') || "
    r"printf('.%06dZ', ((\1 % 1000000) + 1000000) % 1000000)"
)
"""What ``iso(microseconds)`` in a view means; ``%`` of SQLite keeps the sign, so times before 1970 need the detour."""

_VIEWS = (
    """\
CREATE VIEW agents AS
    -- One row per agent. head is the last sequence assigned; deleting leaves holes below it.
SELECT namespace, name AS agent_id, head FROM oacp_agents""",
    """\
CREATE VIEW interactions AS
    -- Everything agents did, said or saw. data is JSON: json_extract(data, '$.role').
    -- Fast: WHERE namespace = 'default' AND agent_id = '...' ORDER BY sequence DESC LIMIT 100
SELECT a.namespace, a.name AS agent_id, i.sequence, i.id, iso(i.at_us) AS time, i.body AS data
FROM oacp_agents AS a JOIN oacp_interactions AS i ON i.agent = a.ref""",
    """\
CREATE VIEW agent_states AS
    -- What each agent would need to go on after a restart.
SELECT a.namespace, a.name AS agent_id, d.version, iso(d.at_us) AS updated_at, d.body AS data
FROM oacp_agents AS a JOIN oacp_documents AS d ON d.agent = a.ref WHERE d.kind = 'state'""",
    """\
CREATE VIEW learning_data AS
    -- What agents learned, by key.
SELECT a.namespace, a.name AS agent_id, d.key, d.version, iso(d.at_us) AS updated_at,
       d.body AS data
FROM oacp_agents AS a JOIN oacp_documents AS d ON d.agent = a.ref WHERE d.kind = 'learning'""",
    """\
CREATE VIEW system_state AS
    -- What belongs to no single agent.
SELECT namespace, key, version, iso(at_us) AS updated_at, body AS data FROM oacp_system""",
)


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for statement in (*_TABLES, *_VIEWS):
        connection.execute(re.sub(r"iso\(([a-z_.]+)\)", _ISO, statement))


@dataclass(frozen=True)
class Schema:
    """A schema version and the way to it: ``steps[n]`` leads from version n-1 to n, ``steps[1]`` from nothing."""

    version: int = 1
    steps: Mapping[int, Step] = field(default_factory=lambda: {1: _create})

    def bring_up(self, connection: sqlite3.Connection, path: str) -> None:
        """Create or upgrade, within the write transaction that the connection is in.

        Raises ``StorageConfigError`` for a database of another application, ``SchemaVersionError`` for a newer
        one; nothing is written then.
        """
        found = version_of(connection)
        application = pragma(connection, "application_id")
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        fresh = not application and not tables and not found
        if not fresh and application != APPLICATION_ID:
            raise foreign(path)
        for version, step in pending_upgrades(f"the database {path}", found, self.version, self.steps):
            step(connection)
            connection.execute(f"PRAGMA user_version = {version}")

    def check(self, connection: sqlite3.Connection, path: str) -> None:
        """Raise ``SchemaVersionError`` when another release has changed the database meanwhile."""
        found = version_of(connection)
        if found != self.version:
            raise SchemaVersionError(
                f"the database {path} has schema version {found} by now, and this process works with "
                f"{self.version}; nothing was written: restart it with the release that the others use"
            )


def version_of(connection: sqlite3.Connection) -> int:
    """The schema version that the database carries (``PRAGMA user_version``), 0 for an empty one."""
    return pragma(connection, "user_version")


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """The value of a pragma that is a number."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def foreign(path: str) -> StorageConfigError:
    """The error for a database that belongs to something else."""
    return StorageConfigError(
        f"{path} is an SQLite database of another application; nothing was written to it: name another file"
    )


SCHEMA = Schema()
"""What this release works with."""
