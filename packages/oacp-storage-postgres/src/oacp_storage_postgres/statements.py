"""The statements of the engine, each named after what it is for; the tables and functions are in ``sql/``."""

from __future__ import annotations


def _call(function: str, types: str) -> str:
    """Call a function that returns bigint[], with parameters of these types.

    Arrays of numbers go as text, "{1,2}", both ways: asyncpg knows arrays of text by itself, but would ask each new
    connection about others, which takes the server longer than the call.
    """
    parameters = [
        f"${n}::text::{kind}" if kind.endswith("[]") and kind != "text[]" else f"${n}::{kind}"
        for n, kind in enumerate(types.split(), 1)
    ]
    return f"SELECT oacp.{function}({', '.join(parameters)})::text"


_HEAD = "integer text text"  # schema version, namespace, attempt
WRITE_GROUP = _call(
    "write_group",
    f"{_HEAD} text[] bigint[] integer[] bigint[] text[] bigint[] bigint[] integer[] text[] "
    "integer[] text[] text[] bigint[] bigint[] bigint[] text[]",
)
COMMIT_GROUP = _call(
    "commit_group",
    f"{_HEAD} text[] bigint[] integer[] text[] text[] integer[] integer[] integer[] boolean[] "
    "integer[] integer[] integer[] text[] bigint[] bigint[] bigint[] integer[] text[] "
    "integer[] bigint[] bigint[] bigint[] bigint[] text[]",
)
TRIM_STEP = _call("trim_step", f"{_HEAD} text[] text[] bigint bigint bigint")
ERASE_STEP = _call("erase_step", f"{_HEAD} text boolean bigint")
DROP_COVERED = _call("drop_covered", f"{_HEAD} bigint")
DROP_OLD_RECEIPTS = """
DELETE FROM oacp.receipts WHERE attempt IN (
    SELECT attempt FROM oacp.receipts WHERE at < now() - interval '10 minutes' FOR UPDATE SKIP LOCKED
)
"""

IS_PARTITIONED = "SELECT oacp.is_partitioned()"
CREATE_PARTITIONS = "SELECT oacp.create_partitions()"

SCHEMA_VERSION = "SELECT schema_version FROM oacp.meta"
# Looked up as rows: to_regclass may answer from a cache older than what was committed while we waited for a lock.
_RELATION_EXISTS = """
SELECT EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'oacp' AND c.relname = '{}'
)
"""
SCHEMA_EXISTS = _RELATION_EXISTS.format("meta")
LOCK_SCHEMA = "SELECT pg_advisory_xact_lock(hashtextextended('oacp schema', 0))"
# Waits for the writes that are under way, and keeps off new ones, which then see the new mark; see oacp.begin_write.
LOCK_UPGRADES = "SELECT pg_advisory_xact_lock(1868653424, 256)"
_CREATE_PROJECTION_INDEX = """
CREATE INDEX {} IF NOT EXISTS interactions_projection ON oacp.interactions
USING gin (oacp.projection(body) jsonb_path_ops)
"""
CREATE_PROJECTION_INDEX = _CREATE_PROJECTION_INDEX.format("")
CREATE_PROJECTION_INDEX_BESIDE_WRITERS = _CREATE_PROJECTION_INDEX.format("CONCURRENTLY")
# False is one of which the making was interrupted: writers keep it up to date, but no query may use it.
PROJECTION_INDEX_IS_VALID = """
SELECT i.indisvalid
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'oacp' AND c.relname = 'interactions_projection'
"""
DROP_PROJECTION_INDEX = "DROP INDEX CONCURRENTLY IF EXISTS oacp.interactions_projection"
# Does not wait: the making of an index waits for the snapshots of whoever would.
TRY_LOCK_INDEX = "SELECT pg_try_advisory_lock(hashtextextended('oacp index', 0))"
IS_FILLED = "SELECT EXISTS (SELECT FROM oacp.interactions)"
IS_READ_ONLY = "SELECT current_setting('transaction_read_only') = 'on'"

_LOG = """
SELECT a.head, p.sequence, p.id, p.at_us, p.crc, p.body, p.size
FROM oacp.agents a LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT i.*, sum(greatest(i.size, 0)) OVER (ORDER BY i.sequence {order}) - greatest(i.size, 0) AS before
        FROM (
            SELECT i.sequence, i.id, i.at_us, i.crc, i.body, i.size FROM oacp.interactions i
            WHERE i.agent_id = $1 AND i.namespace = $2 AND i.sequence > $3 AND {floor}
                AND i.sequence < $4 {filter}
            ORDER BY i.sequence {order} LIMIT $5
        ) i
    ) sized WHERE sized.before < $6
) p ON true
WHERE a.agent_id = $1 AND a.namespace = $2
ORDER BY p.sequence {order}
"""
_COUNT = """
SELECT count(*) FROM oacp.agents a JOIN oacp.interactions i ON i.agent_id = a.agent_id
    AND i.namespace = a.namespace AND i.sequence > $3 AND i.sequence > a.floor AND i.sequence < $4 {filter}
WHERE a.agent_id = $1 AND a.namespace = $2
"""


def read_log(*, reverse: bool, conditions: str) -> str:
    """A page of a log with the head, from one snapshot: agent, namespace, low, high, limit, max bytes ..."""
    # Written so that the planner does not take it for a bound: it would guess that hardly anything is between two
    # bounds of which it does not know one, and prefer walking the log to the index.
    floor = "i.sequence - a.floor > 0" if conditions else "i.sequence > a.floor"
    return _LOG.format(order="DESC" if reverse else "ASC", floor=floor, filter=conditions)


def count_log(conditions: str) -> str:
    """How many interactions lie between two sequences: agent, namespace, low, high ..."""
    return _COUNT.format(filter=conditions)


FIND = """
SELECT i.sequence, i.id, i.at_us, i.crc, i.body FROM oacp.agents a JOIN oacp.interactions i
    ON i.agent_id = a.agent_id AND i.namespace = a.namespace AND i.sequence > a.floor
WHERE a.agent_id = $1 AND a.namespace = $2 AND i.id = ANY ($3::text[])
"""
READ_DOCUMENTS = """
SELECT d.key, d.version, d.at_us, d.body, d.crc FROM oacp.agents a JOIN oacp.documents d
    ON d.agent_id = a.agent_id AND d.namespace = a.namespace AND d.incarnation = a.incarnation
WHERE a.agent_id = $1 AND a.namespace = $2 AND d.kind = $3 AND d.key = ANY ($4::text[])
"""
# One row for each of the agents, kinds and keys, in their order. A subquery with LIMIT is evaluated for one row after
# the other, by the keys of the tables, whatever number of rows the planner expects.
READ_SEVERAL_DOCUMENTS = """
SELECT w.key, f.version, f.at_us, f.body, f.crc
FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS w (agent_id, kind, key, i) LEFT JOIN LATERAL (
    SELECT d.version, d.at_us, d.body, d.crc FROM oacp.agents a JOIN oacp.documents d
        ON d.agent_id = a.agent_id AND d.namespace = a.namespace AND d.incarnation = a.incarnation
    WHERE a.agent_id = w.agent_id AND a.namespace = $1 AND d.kind = w.kind AND d.key = w.key LIMIT 1
) f ON true
ORDER BY w.i
"""
READ_SYSTEM_STATE = """
SELECT key, version, at_us, body, crc FROM oacp.system_state WHERE namespace = $1 AND key = ANY ($2::text[])
"""
SCAN_DOCUMENTS = """
SELECT d.key, d.version, d.at_us, d.body, d.crc FROM oacp.agents a JOIN oacp.documents d
    ON d.agent_id = a.agent_id AND d.namespace = a.namespace AND d.incarnation = a.incarnation
WHERE a.agent_id = $1 AND a.namespace = $2 AND d.kind = $3 AND d.key >= $4 AND d.key < $5
    AND d.key > $6
ORDER BY d.key LIMIT $7
"""
SCAN_SYSTEM_STATE = """
SELECT key, version, at_us, body, crc FROM oacp.system_state
WHERE namespace = $1 AND key >= $2 AND key < $3 AND key > $4 ORDER BY key LIMIT $5
"""
SCAN_AGENTS = """
SELECT agent_id FROM oacp.agents
WHERE namespace = $1 AND agent_id >= $2 AND agent_id < $3 AND agent_id > $4 ORDER BY agent_id LIMIT $5
"""

# The same criteria as those of oacp.trim_step: namespace, agents, ids, before, keep last.
COUNT_PICKED = """
SELECT count(*)
FROM oacp.agents a
CROSS JOIN LATERAL (
    SELECT CASE WHEN $5::bigint IS NULL THEN a.head ELSE coalesce((
        SELECT k.sequence FROM oacp.interactions k
        WHERE k.agent_id = a.agent_id AND k.namespace = a.namespace AND k.sequence > a.floor
        ORDER BY k.sequence DESC OFFSET $5 LIMIT 1), 0) END AS last
) c
JOIN oacp.interactions i ON i.agent_id = a.agent_id AND i.namespace = a.namespace
    AND i.sequence > a.floor AND i.sequence <= c.last
WHERE a.namespace = $1 AND a.agent_id = ANY ($2::text[])
    AND ($3::text[] IS NULL OR i.id = ANY ($3)) AND ($4::bigint IS NULL OR i.at_us < $4)
"""

PENDING_ERASURES = "SELECT DISTINCT agent_id FROM oacp.erasures WHERE namespace = $1"

# Agents that have interactions or documents, but no row, nor are they being erased.
_LEFT_OVER = """
SELECT t.agent_id, min({field}) AS at FROM oacp.{table} t
LEFT JOIN oacp.agents a ON a.agent_id = t.agent_id AND a.namespace = t.namespace {agent}
LEFT JOIN oacp.erasures e ON e.agent_id = t.agent_id AND e.namespace = t.namespace AND {erasure}
WHERE t.namespace = $1 AND a.agent_id IS NULL AND e.agent_id IS NULL
GROUP BY t.agent_id ORDER BY t.agent_id
"""
LEFT_OVER_INTERACTIONS = _LEFT_OVER.format(
    table="interactions", field="t.sequence", agent="", erasure="t.sequence <= e.last_sequence"
)
LEFT_OVER_DOCUMENTS = _LEFT_OVER.format(
    table="documents",
    field="t.kind || ' ' || t.key",
    agent="AND a.incarnation = t.incarnation",
    erasure="e.incarnation = t.incarnation",
)

SETTINGS = """
SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes, pg_is_in_recovery() AS in_recovery,
       (SELECT schema_version FROM oacp.meta) AS schema_version
"""
# A lost announcement is found by looking, so it is not worth waiting for the disk.
NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"
