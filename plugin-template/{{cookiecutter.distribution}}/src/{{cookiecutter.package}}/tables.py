"""The tables, and every statement over them."""

from __future__ import annotations

SCHEMA_VERSION = 1

SCHEMA = (
    "CREATE TABLE meta (schema_version INTEGER NOT NULL)",
    f"INSERT INTO meta VALUES ({SCHEMA_VERSION})",
    "CREATE TABLE agents (name TEXT PRIMARY KEY, head INTEGER NOT NULL) WITHOUT ROWID",
    # What remains of a deleted agent is its head, under a hash of its name.
    "CREATE TABLE tombstones (hash TEXT PRIMARY KEY, head INTEGER NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE log (
        agent TEXT NOT NULL, sequence INTEGER NOT NULL, id TEXT NOT NULL, at_us INTEGER NOT NULL,
        body BLOB NOT NULL, crc INTEGER NOT NULL,
        PRIMARY KEY (agent, sequence)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX log_by_id ON log (agent, id)",
    # System state is of the agent '', which is no name of an agent.
    """
    CREATE TABLE documents (
        agent TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL,
        at_us INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL,
        PRIMARY KEY (agent, kind, key)
    ) WITHOUT ROWID
    """,
)

READ_SCHEMA = "SELECT schema_version FROM meta"
READ_HEAD = "SELECT head FROM agents WHERE name = ?"
READ_TOMBSTONE = "SELECT head FROM tombstones WHERE hash = ?"
READ_KNOWN = "SELECT sequence, body FROM log WHERE agent = ? AND id = ?"
READ_VERSION = "SELECT version FROM documents WHERE agent = ? AND kind = ? AND key = ?"

WRITE_HEAD = "INSERT INTO agents VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET head = excluded.head"
WRITE_ROW = "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)"
WRITE_DOCUMENT = "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)"
DELETE_DOCUMENT = "DELETE FROM documents WHERE agent = ? AND kind = ? AND key = ?"

_RECORD = "SELECT sequence, id, at_us, body, crc FROM log WHERE agent = ?"
READ_LOG = {
    reverse: f"{_RECORD} AND sequence > ? AND sequence < ? ORDER BY sequence {order} LIMIT ?"
    for reverse, order in ((False, "ASC"), (True, "DESC"))
}
COUNT = """
SELECT count(*) FROM log WHERE agent = ? AND sequence > ? AND sequence < ?
AND (?4 IS NULL OR at_us >= ?4) AND (?5 IS NULL OR at_us < ?5)
"""
FIND = f"{_RECORD} AND id = ?"
_DOCUMENT = "SELECT key, version, at_us, body, crc FROM documents WHERE agent = ? AND kind = ?"
READ_DOCUMENT = f"{_DOCUMENT} AND key = ?"
SCAN_DOCUMENTS = f"""
{_DOCUMENT} AND key > ? AND key >= ? AND substr(key, 1, length(?4)) = ?4 ORDER BY key LIMIT ?
"""
SCAN_AGENTS = """
SELECT name FROM agents WHERE name > ? AND name >= ? AND substr(name, 1, length(?2)) = ?2
ORDER BY name LIMIT ?
"""

# :keep is how many of the newest to keep, or null; what is older than the newest of the rest goes.
_PICKED = """
agent = :agent AND (:before IS NULL OR at_us < :before)
AND (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))
AND (:keep IS NULL OR sequence <= (
    SELECT sequence FROM log WHERE agent = :agent ORDER BY sequence DESC LIMIT 1 OFFSET :keep
))
"""
COUNT_PICKED = f"SELECT count(*) FROM log WHERE {_PICKED}"
DELETE_PICKED = f"""
DELETE FROM log WHERE agent = :agent AND sequence IN (
    SELECT sequence FROM log WHERE {_PICKED} ORDER BY sequence LIMIT :limit
)
"""

HIDE_AGENT = "DELETE FROM agents WHERE name = ? RETURNING head"
WRITE_TOMBSTONE = "INSERT OR REPLACE INTO tombstones VALUES (?, ?)"
ERASE_LOG = "DELETE FROM log WHERE agent = ?"
ERASE_DOCUMENTS = "DELETE FROM documents WHERE agent = ? AND kind = ?"
