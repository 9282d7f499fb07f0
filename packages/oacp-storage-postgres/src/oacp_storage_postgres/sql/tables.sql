-- Schema version 1 of oacp-storage on PostgreSQL: the tables. `python -m oacp_storage_postgres sql` prints all of it, for
-- an owner who wants to run it by hand.
--
-- Names are compared by code point (COLLATE "C"). Times are UTC microseconds since 1970. Bodies are json, not
-- jsonb: the exact text is kept. agent_id leads every key of an agent's tables, so that they can be
-- distributed by it. The index by id begins with the id instead: most are generated in the order of time, so
-- that new ones come to its end, however many agents there are.

CREATE SCHEMA IF NOT EXISTS oacp;

CREATE TABLE oacp.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    schema_version integer NOT NULL
);
INSERT INTO oacp.meta (schema_version) VALUES (1);

-- One row per agent from its first write until it is deleted. Its row lock orders everything that happens to
-- the agent. Interactions up to "floor" and documents of another "incarnation" belong to a deleted namesake.
CREATE TABLE oacp.agents (
    agent_id text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    head bigint NOT NULL,
    floor bigint NOT NULL,
    incarnation bigint NOT NULL,
    PRIMARY KEY (agent_id, namespace)
) WITH (fillfactor = 70);
CREATE INDEX agents_by_name ON oacp.agents (namespace, agent_id);

-- The logs. "size" is the length of the body in bytes, "committed" the server's time of the commit.
CREATE TABLE oacp.interactions (
    agent_id text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    at_us bigint NOT NULL,
    crc bigint NOT NULL,
    size integer NOT NULL,
    committed timestamptz NOT NULL DEFAULT now(),
    body json NOT NULL,
    CONSTRAINT interactions_pkey PRIMARY KEY (agent_id, namespace, sequence)
);
CREATE INDEX interactions_by_id ON oacp.interactions (id, agent_id, namespace);

-- Agent states (kind 'state', key '') and learning data (kind 'learning').
CREATE TABLE oacp.documents (
    agent_id text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    incarnation bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    at_us bigint NOT NULL,
    crc bigint NOT NULL,
    body json NOT NULL,
    PRIMARY KEY (agent_id, namespace, incarnation, kind, key)
) WITH (fillfactor = 80);

CREATE TABLE oacp.system_state (
    key text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    at_us bigint NOT NULL,
    crc bigint NOT NULL,
    body json NOT NULL,
    PRIMARY KEY (key, namespace)
) WITH (fillfactor = 80);
CREATE INDEX system_state_by_key ON oacp.system_state (namespace, key);

-- What remains of a deleted agent: the last sequence, under a hash of its name.
CREATE TABLE oacp.tombstones (
    agent_hash bytea NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    last_sequence bigint NOT NULL,
    PRIMARY KEY (agent_hash, namespace)
);

-- Agents that are hidden and not yet erased: interactions up to "last_sequence", documents of "incarnation".
CREATE TABLE oacp.erasures (
    agent_id text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    incarnation bigint NOT NULL,
    last_sequence bigint NOT NULL,
    PRIMARY KEY (agent_id, namespace, incarnation)
);

-- The outcomes of attempts, kept for ten minutes, so that one sent twice has its effect once.
CREATE TABLE oacp.receipts (
    attempt text COLLATE "C" PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    outcome bigint[] NOT NULL -- as the function that stored it returns it
);
CREATE INDEX receipts_by_time ON oacp.receipts (at);

-- The body as jsonb for indexes and reports. It never fails: what jsonb cannot hold (a NUL character, a number
-- beyond its range) becomes a marker. Not PARALLEL SAFE: its exception block is a subtransaction.
CREATE FUNCTION oacp.projection(body json) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT COST 1000 AS $$
BEGIN
    RETURN body::text::jsonb;
EXCEPTION WHEN OTHERS THEN
    RETURN '{"$unprojectable": true}'::jsonb;
END $$;

-- What a deleted agent is remembered by.
CREATE FUNCTION oacp.agent_hash(p_namespace text, p_agent text) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT sha256(convert_to(p_namespace, 'UTF8') || '\x00'::bytea || convert_to(p_agent, 'UTF8'))
$$;

-- What every function that writes does first: no upgrade of the schema happens until its transaction ends, so the mark
-- that a later statement reads stays true; the commit waits for the disk, whatever the default is; and a client that
-- stops inside a transaction does not keep its locks. LOCK_UPGRADES in statements.py is the other side of the lock.
CREATE FUNCTION oacp.begin_write() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_set text;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1868653424, 256);
    IF current_setting('synchronous_commit') = 'off' THEN
        v_set := set_config('synchronous_commit', 'on', true);
    END IF;
    v_set := set_config('idle_in_transaction_session_timeout', '5s', true);
END $$;

-- The outcome of an attempt that was applied before, or null.
CREATE FUNCTION oacp.receipt_of(p_schema_version integer, p_attempt text) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    v_schema integer;
    v_outcome bigint[];
BEGIN
    PERFORM oacp.begin_write();
    SELECT m.schema_version, (SELECT r.outcome FROM oacp.receipts r WHERE r.attempt = p_attempt)
    INTO v_schema, v_outcome FROM oacp.meta m;
    IF v_schema IS DISTINCT FROM p_schema_version THEN
        RAISE EXCEPTION 'the schema version is %', v_schema USING ERRCODE = 'OA001';
    END IF;
    RETURN v_outcome;
END $$;
