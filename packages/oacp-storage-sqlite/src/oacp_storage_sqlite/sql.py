"""The statements that read and write the tables of ``schema.py``, except those of one use in one place.

Text comes and goes as UTF-8 bytes: parameters by ``CAST(? AS TEXT)``, columns because connections have
``text_factory = bytes``. So nothing is decoded on the way to the disk, and damaged text raises nothing.
"""

from __future__ import annotations

AGENT = "SELECT ref, head FROM oacp_agents WHERE namespace = ? AND name = ?"
ADD_AGENT = "INSERT INTO oacp_agents (namespace, name, head) VALUES (?, ?, ?)"
SET_HEAD = "UPDATE oacp_agents SET head = ? WHERE ref = ?"
REMOVE_AGENT = "DELETE FROM oacp_agents WHERE ref = ?"
AGENTS = (
    "SELECT name FROM oacp_agents WHERE namespace = ? AND name {above} CAST(? AS TEXT) ORDER BY name LIMIT ?"
)

TOMBSTONE = "SELECT head FROM oacp_tombstones WHERE name_hash = ?"
SET_TOMBSTONE = "REPLACE INTO oacp_tombstones (name_hash, head) VALUES (?, ?)"
REMOVE_TOMBSTONE = "DELETE FROM oacp_tombstones WHERE name_hash = ?"

APPEND = (
    "INSERT INTO oacp_interactions (agent, sequence, id, at_us, crc, body) "
    "VALUES (?, ?, ?, ?, ?, CAST(? AS TEXT))"
)
KNOWN = "SELECT sequence, body FROM oacp_interactions WHERE id = ? AND agent = ?"
RECORD = "sequence, id, at_us, crc, body"
FIND = f"SELECT {RECORD} FROM oacp_interactions WHERE id = ? AND agent = ?"  # noqa: S608 - columns only

ADD_DOCUMENT = (
    "INSERT INTO oacp_documents (agent, kind, key, version, at_us, crc, body) "
    "VALUES (?, ?, ?, ?, ?, ?, CAST(? AS TEXT))"
)
CHANGE_DOCUMENT = (
    "UPDATE oacp_documents SET version = ?, at_us = ?, crc = ?, body = CAST(? AS TEXT) WHERE position = ?"
)
FIND_DOCUMENT = "SELECT position, version FROM oacp_documents WHERE agent = ? AND kind = ? AND key = ?"
DOCUMENT = (
    "INSERT INTO oacp_documents (agent, kind, key, version, at_us, crc, body) "
    "VALUES (?, ?, ?, ?, ?, ?, CAST(? AS TEXT)) ON CONFLICT (agent, kind, key) DO UPDATE SET "
    "version = excluded.version, at_us = excluded.at_us, crc = excluded.crc, body = excluded.body"
)
REMOVE_DOCUMENT = "DELETE FROM oacp_documents WHERE agent = ? AND kind = ? AND key = ?"
VERSION = "SELECT version FROM oacp_documents WHERE agent = ? AND kind = ? AND key = ?"
DOCUMENT = (
    "SELECT key, version, at_us, crc, body FROM oacp_documents WHERE agent = ? AND kind = ? AND key = ?"
)
DOCUMENTS = (
    "SELECT {columns} FROM oacp_documents WHERE agent = ? AND kind = ? AND key {above} CAST(? AS TEXT) "
    "ORDER BY key LIMIT ?"
)

ADD_SYSTEM = (
    "INSERT INTO oacp_system (namespace, key, version, at_us, crc, body) "
    "VALUES (?, ?, ?, ?, ?, CAST(? AS TEXT))"
)
CHANGE_SYSTEM = (
    "UPDATE oacp_system SET version = ?, at_us = ?, crc = ?, body = CAST(? AS TEXT) WHERE position = ?"
)
FIND_SYSTEM = "SELECT position, version FROM oacp_system WHERE namespace = ? AND key = ?"
DELETE_SYSTEM = "DELETE FROM oacp_system WHERE position = ?"
SYSTEM = "SELECT key, version, at_us, crc, body FROM oacp_system WHERE namespace = ? AND key = ?"
SYSTEMS = "SELECT {columns} FROM oacp_system WHERE namespace = ? AND key {above} CAST(? AS TEXT) ORDER BY key LIMIT ?"

COUNT = "SELECT count(*) FROM oacp_interactions WHERE "
POSITIONS = "SELECT position FROM oacp_interactions WHERE "
NTH_NEWEST = "SELECT sequence FROM oacp_interactions WHERE agent = ? ORDER BY sequence DESC LIMIT 1 OFFSET ?"
PLACE_OF_ID = "SELECT position, sequence, at_us FROM oacp_interactions WHERE id = ? AND agent = ?"
DELETE_INTERACTION = "DELETE FROM oacp_interactions WHERE position = ?"

COUNT_DOCUMENTS = "SELECT kind, count(*) FROM oacp_documents WHERE agent = ? GROUP BY kind"
DOCUMENT_POSITIONS = "SELECT position FROM oacp_documents WHERE agent = ? LIMIT ?"
DELETE_DOCUMENT = "DELETE FROM oacp_documents WHERE position = ?"

ADD_ERASING = "INSERT INTO oacp_erasing (ref, name_hash) VALUES (?, ?)"
ERASING = "SELECT ref FROM oacp_erasing"
ERASING_OF_NAME = "SELECT ref FROM oacp_erasing WHERE name_hash = ?"
ERASED = "DELETE FROM oacp_erasing WHERE ref = ?"

DOCUMENT_COLUMNS = "key, version, at_us, crc, body"
LOG = (
    f"SELECT {RECORD} FROM oacp_interactions "  # noqa: S608 - columns only
    "WHERE agent = ? AND sequence > ? AND sequence < ?{filter} ORDER BY sequence {order} LIMIT ?"
)
SEQUENCES = (
    "SELECT sequence FROM oacp_interactions WHERE agent = ? AND sequence > ? AND sequence < ? "
    "ORDER BY sequence {order} LIMIT ?"
)
NTH_SEQUENCE = f"{SEQUENCES[:-1]}1 OFFSET ?"
RECORD_AT = f"SELECT {RECORD} FROM oacp_interactions WHERE agent = ? AND sequence = ?"  # noqa: S608

_NO_AGENT = "WHERE agent NOT IN (SELECT ref FROM oacp_agents UNION ALL SELECT ref FROM oacp_erasing)"
ORPHANED_INTERACTIONS = f"SELECT count(*) FROM oacp_interactions {_NO_AGENT}"  # noqa: S608 - no parameters
ORPHANED_DOCUMENTS = f"SELECT count(*) FROM oacp_documents {_NO_AGENT}"  # noqa: S608 - no parameters
