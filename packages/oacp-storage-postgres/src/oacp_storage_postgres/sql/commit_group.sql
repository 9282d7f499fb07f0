-- Judges and applies any group of units in one round trip, once per attempt: oacp_storage_engine.judge in SQL.
--
--   p_agents  the agents, sorted by code point, without repetition; p_incarnations those of agents to be created
--   s_*       the documents that are put, each once: index of the agent (0: system state), kind, key
--   u_*       the units: index of the agent, how many appends and puts it has, and whether it is a turn
--   r_*       the appends of all units: index of the agent; the number of the given id among those of the group (0: a
--             generated one, which is never looked up); its payload's class: equal classes are equal payloads; ...
--   d_*       the puts of all units: which document, ...; a body that is null deletes
--
-- Returns 1, then three numbers per unit, then the sequence of each append (negative where it existed before), then the
-- version of each put. The three numbers are 0, 0, 0 (applied), 1, put, version (conflict), 2, append, sequence
-- (duplicate), or 3, 0, 0 (a turn replayed). Raises OA001 when the schema is not that of p_schema_version.
--
-- Locks are taken in one order, so that there are no deadlocks: missing agents are created, by name; then all agents
-- are locked, by name; then the stripes of system state. Who creates waits only for those who create or lock after
-- creating, who locks only for those who lock. What is looked at is looked at in later statements than the locks.
CREATE FUNCTION oacp.commit_group(
    p_schema_version integer, p_namespace text, p_attempt text, p_agents text[], p_incarnations bigint[],
    s_agent integer[], s_kind text[], s_key text[],
    u_agent integer[], u_appends integer[], u_puts integer[], u_turn boolean[],
    r_agent integer[], r_given integer[], r_class integer[], r_id text[], r_sequence bigint[], r_at_us bigint[],
    r_crc bigint[], r_size integer[], r_body text[],
    d_document integer[], d_expected bigint[], d_version bigint[], d_at_us bigint[], d_crc bigint[], d_body text[]
) RETURNS bigint[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    n_agents integer := cardinality(p_agents);
    n_units integer := cardinality(u_agent);
    n_appends integer := cardinality(r_agent);
    n_given integer := 0;
    v_schema integer;
    v_outcome bigint[];
    v_created text[];
    -- The agents, as they are now and as judged so far.
    a_head bigint[];
    a_incarnation bigint[];
    a_touched boolean[] := array_fill(false, ARRAY[n_agents]);
    -- The given ids: sequence (0: there is none), class of the payload (0: of a stored one), where it was seen first.
    g_sequence bigint[];
    g_class integer[];
    g_unit integer[];
    g_first integer[];
    -- The appends: sequence, whether the stored payload is the same, the sequence under which to write it.
    v_sequence bigint[] := '{}';
    v_same boolean[];
    v_twin integer[];
    v_write bigint[];
    -- The documents: version (0: there is none), the put that is left to write (-1: delete), and the puts' versions.
    s_version bigint[] := array_fill(0::bigint, ARRAY[cardinality(s_agent)]);
    s_put integer[] := array_fill(0, ARRAY[cardinality(s_agent)]);
    v_version bigint[] := array_fill(0::bigint, ARRAY[cardinality(d_document)]);
    v_units bigint[] := array_fill(0::bigint, ARRAY[3 * n_units]);
    v_wrote boolean := false;
    v_row record;
    v_agent integer;
    v_head bigint;
    v_known bigint;
    v_code integer;
    v_at integer;
    v_actual bigint;
    v_found integer;
    g integer;
    s integer;
    a0 integer;
    a1 integer := 0;
    d0 integer;
    d1 integer := 0;
BEGIN
    PERFORM oacp.begin_write();
    IF n_agents > 0 THEN
        WITH created AS (
            INSERT INTO oacp.agents (agent_id, namespace, head, floor, incarnation)
            SELECT n.agent_id, p_namespace, 0, 0, n.incarnation
            FROM unnest(p_agents, p_incarnations) AS n (agent_id, incarnation)
            WHERE NOT EXISTS (
                SELECT FROM oacp.agents a WHERE a.agent_id = n.agent_id AND a.namespace = p_namespace
            )
            ORDER BY n.agent_id COLLATE "C" ON CONFLICT DO NOTHING RETURNING agent_id
        )
        SELECT array_agg(agent_id) INTO v_created FROM created;
        IF v_created IS NOT NULL THEN
            -- A deleted namesake's log goes on after its last sequence.
            UPDATE oacp.agents a SET head = t.last_sequence, floor = t.last_sequence FROM oacp.tombstones t
            WHERE a.agent_id = ANY (v_created) AND a.namespace = p_namespace
                AND t.agent_hash = oacp.agent_hash(p_namespace, a.agent_id) AND t.namespace = p_namespace;
            -- Nor is a sequence given a second time where the row of an agent was lost and its log was not.
            UPDATE oacp.agents a SET head = i.last
            FROM unnest(v_created) AS c (agent_id) CROSS JOIN LATERAL (
                SELECT l.sequence AS last FROM oacp.interactions l
                WHERE l.agent_id = c.agent_id AND l.namespace = p_namespace ORDER BY l.sequence DESC LIMIT 1
            ) i
            WHERE a.agent_id = c.agent_id AND a.namespace = p_namespace AND a.head < i.last;
        END IF;
        SELECT array_agg(head ORDER BY agent_id), array_agg(incarnation ORDER BY agent_id)
        INTO a_head, a_incarnation FROM (
            SELECT agent_id, head, incarnation FROM oacp.agents
            WHERE agent_id = ANY (p_agents) AND namespace = p_namespace ORDER BY agent_id FOR NO KEY UPDATE
        ) locked;
        IF coalesce(cardinality(a_head), 0) < n_agents THEN
            RAISE EXCEPTION 'an agent was deleted meanwhile' USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    IF 0 = ANY (s_agent) THEN
        PERFORM pg_advisory_xact_lock(1868653424, stripe) FROM (
            SELECT DISTINCT (hashtextextended(p_namespace || '/' || d.key, 0) & 255)::integer AS stripe
            FROM unnest(s_agent, s_key) AS d (agent, key) WHERE d.agent = 0 ORDER BY stripe
        ) stripes;
    END IF;

    SELECT m.schema_version, (SELECT r.outcome FROM oacp.receipts r WHERE r.attempt = p_attempt)
    INTO v_schema, v_outcome FROM oacp.meta m;
    IF v_schema IS DISTINCT FROM p_schema_version THEN
        RAISE EXCEPTION 'the schema version is %', v_schema USING ERRCODE = 'OA001';
    END IF;
    IF v_outcome IS NOT NULL THEN
        DELETE FROM oacp.agents WHERE agent_id = ANY (v_created) AND namespace = p_namespace;
        RETURN v_outcome;
    END IF;
    IF n_appends > 0 THEN
        n_given := (SELECT max(n.number) FROM unnest(r_given) AS n (number));
        v_sequence := array_fill(0::bigint, ARRAY[n_appends]);
        v_twin := array_fill(0, ARRAY[n_appends]);
        v_write := array_fill(NULL::bigint, ARRAY[n_appends]);
    END IF;
    IF n_given > 0 THEN
        g_sequence := array_fill(0::bigint, ARRAY[n_given]);
        g_class := array_fill(0, ARRAY[n_given]);
        g_unit := g_class;
        g_first := g_class;
        v_same := array_fill(false, ARRAY[n_appends]);
        FOR v_row IN
            SELECT w.i, w.given, i.sequence, i.body::text = w.body AS same
            FROM unnest(r_agent, r_given, r_id, r_body) WITH ORDINALITY AS w (agent, given, id, body, i)
            JOIN oacp.interactions i ON i.agent_id = p_agents[w.agent] AND i.namespace = p_namespace AND i.id = w.id
            JOIN oacp.agents a ON a.agent_id = i.agent_id AND a.namespace = p_namespace AND i.sequence > a.floor
            WHERE w.given > 0
        LOOP
            g_sequence[v_row.given] := v_row.sequence;
            v_same[v_row.i] := v_row.same;
        END LOOP;
    END IF;
    IF n_agents > 0 AND cardinality(s_agent) > 0 THEN
        FOR v_row IN
            SELECT w.i, d.version
            FROM unnest(s_agent, s_kind, s_key) WITH ORDINALITY AS w (agent, kind, key, i)
            JOIN oacp.documents d ON d.agent_id = p_agents[w.agent] AND d.namespace = p_namespace
                AND d.incarnation = a_incarnation[w.agent] AND d.kind = w.kind AND d.key = w.key
            WHERE w.agent > 0
        LOOP
            s_version[v_row.i] := v_row.version;
        END LOOP;
    END IF;
    IF 0 = ANY (s_agent) THEN
        FOR v_row IN
            SELECT w.i, d.version
            FROM unnest(s_agent, s_key) WITH ORDINALITY AS w (agent, key, i)
            JOIN oacp.system_state d ON d.key = w.key AND d.namespace = p_namespace
            WHERE w.agent = 0
        LOOP
            s_version[v_row.i] := v_row.version;
        END LOOP;
    END IF;

    FOR u IN 1 .. n_units LOOP
        v_agent := u_agent[u];
        a0 := a1 + 1;
        a1 := a1 + u_appends[u];
        d0 := d1 + 1;
        d1 := d1 + u_puts[u];
        v_code := 0;
        v_found := 0;
        -- Which of the unit's appends exist already, in the store, from an earlier unit, or as twins in this one.
        FOR i IN a0 .. a1 LOOP
            g := r_given[i];
            CONTINUE WHEN g = 0;
            IF g_unit[g] <> u THEN
                g_unit[g] := u;
                g_first[g] := i;
            END IF;
            v_known := g_sequence[g];
            IF v_known > 0 THEN
                IF r_sequence[i] <> v_known
                    OR NOT (CASE g_class[g] WHEN 0 THEN v_same[i] ELSE g_class[g] = r_class[i] END)
                THEN
                    v_code := 2;
                    v_at := i - a0;
                    v_actual := v_known;
                    EXIT;
                END IF;
                v_sequence[i] := -v_known;
                v_found := v_found + 1;
            ELSIF g_first[g] <> i THEN
                IF u_turn[u] OR r_class[g_first[g]] <> r_class[i]
                    OR r_sequence[g_first[g]] IS DISTINCT FROM r_sequence[i]
                THEN
                    v_code := 2;
                    v_at := i - a0;
                    v_actual := 0;
                    EXIT;
                END IF;
                v_twin[i] := g_first[g];
            END IF;
        END LOOP;
        IF v_code = 0 AND u_turn[u] AND v_found > 0 THEN
            IF v_found = u_appends[u] THEN
                v_code := 3;
                v_at := 0;
                v_actual := 0;
            ELSE
                FOR i IN a0 .. a1 LOOP
                    IF v_sequence[i] < 0 THEN
                        v_code := 2;
                        v_at := i - a0;
                        v_actual := -v_sequence[i];
                        EXIT;
                    END IF;
                END LOOP;
            END IF;
        END IF;
        IF v_code = 0 THEN
            v_head := CASE WHEN v_agent > 0 THEN a_head[v_agent] END;
            FOR i IN a0 .. a1 LOOP
                CONTINUE WHEN v_sequence[i] < 0;
                IF v_twin[i] > 0 THEN
                    v_sequence[i] := -v_sequence[v_twin[i]];
                ELSIF r_sequence[i] <= v_head THEN
                    v_code := 2;
                    v_at := i - a0;
                    v_actual := 0;
                    EXIT;
                ELSE
                    v_head := coalesce(r_sequence[i], v_head + 1);
                    v_sequence[i] := v_head;
                END IF;
            END LOOP;
        END IF;
        IF v_code = 0 THEN
            FOR i IN d0 .. d1 LOOP
                IF d_expected[i] <> s_version[d_document[i]] THEN
                    v_code := 1;
                    v_at := i - d0;
                    v_actual := s_version[d_document[i]];
                    EXIT;
                END IF;
            END LOOP;
        END IF;
        IF v_code > 0 THEN
            v_units[3 * u - 2] := v_code;
            v_units[3 * u - 1] := v_at;
            v_units[3 * u] := v_actual;
            CONTINUE;
        END IF;
        -- It is applied: later units see it.
        FOR i IN a0 .. a1 LOOP
            CONTINUE WHEN v_sequence[i] < 0;
            v_write[i] := v_sequence[i];
            a_head[v_agent] := v_sequence[i];
            a_touched[v_agent] := true;
            g := r_given[i];
            IF g > 0 THEN
                g_sequence[g] := v_sequence[i];
                g_class[g] := r_class[i];
            END IF;
        END LOOP;
        FOR i IN d0 .. d1 LOOP
            s := d_document[i];
            IF d_body[i] IS NULL THEN
                CONTINUE WHEN s_version[s] = 0;
                v_version[i] := s_version[s];
                s_version[s] := 0;
                s_put[s] := -1;
            ELSE
                v_version[i] := coalesce(d_version[i], s_version[s] + 1);
                s_version[s] := v_version[i];
                s_put[s] := i;
            END IF;
            IF v_agent > 0 THEN
                a_touched[v_agent] := true;
            ELSE
                v_wrote := true;
            END IF;
        END LOOP;
    END LOOP;

    v_outcome := 1::bigint || v_units || v_sequence || v_version;
    v_wrote := v_wrote OR true = ANY (a_touched);
    IF v_created IS NOT NULL THEN
        DELETE FROM oacp.agents a USING unnest(p_agents, a_touched) AS t (agent_id, touched)
        WHERE a.agent_id = ANY (v_created) AND a.namespace = p_namespace AND a.agent_id = t.agent_id
            AND NOT t.touched;
    END IF;
    IF NOT v_wrote THEN
        RETURN v_outcome;
    END IF;
    IF n_appends > 0 THEN
        UPDATE oacp.agents a SET head = n.head FROM unnest(p_agents, a_head) AS n (agent_id, head)
        WHERE a.agent_id = n.agent_id AND a.namespace = p_namespace AND a.head <> n.head;
        INSERT INTO oacp.interactions (agent_id, namespace, sequence, id, at_us, crc, size, body)
        SELECT p_agents[r.agent], p_namespace, r.sequence, r.id, r.at_us, r.crc, r.size, r.body::json
        FROM unnest(r_agent, v_write, r_id, r_at_us, r_crc, r_size, r_body)
             AS r (agent, sequence, id, at_us, crc, size, body)
        WHERE r.sequence IS NOT NULL;
    END IF;
    IF n_agents > 0 AND cardinality(s_agent) > 0 THEN
        INSERT INTO oacp.documents AS d (agent_id, namespace, incarnation, kind, key, version, at_us, crc, body)
        SELECT p_agents[w.agent], p_namespace, a_incarnation[w.agent], w.kind, w.key, w.version,
               d_at_us[w.put], d_crc[w.put], d_body[w.put]::json
        FROM unnest(s_agent, s_kind, s_key, s_version, s_put) AS w (agent, kind, key, version, put)
        WHERE w.agent > 0 AND w.put > 0
        ON CONFLICT (agent_id, namespace, incarnation, kind, key) DO UPDATE
        SET version = excluded.version, at_us = excluded.at_us, crc = excluded.crc, body = excluded.body;
    END IF;
    IF 0 = ANY (s_agent) THEN
        INSERT INTO oacp.system_state AS d (key, namespace, version, at_us, crc, body)
        SELECT w.key, p_namespace, w.version, d_at_us[w.put], d_crc[w.put], d_body[w.put]::json
        FROM unnest(s_agent, s_key, s_version, s_put) AS w (agent, key, version, put)
        WHERE w.agent = 0 AND w.put > 0
        ON CONFLICT (key, namespace) DO UPDATE
        SET version = excluded.version, at_us = excluded.at_us, crc = excluded.crc, body = excluded.body;
    END IF;
    IF -1 = ANY (s_put) THEN
        DELETE FROM oacp.documents d USING unnest(s_agent, s_kind, s_key, s_put) AS w (agent, kind, key, put)
        WHERE w.agent > 0 AND w.put = -1 AND d.agent_id = p_agents[w.agent] AND d.namespace = p_namespace
            AND d.incarnation = a_incarnation[w.agent] AND d.kind = w.kind AND d.key = w.key;
        DELETE FROM oacp.system_state d USING unnest(s_agent, s_key, s_put) AS w (agent, key, put)
        WHERE w.agent = 0 AND w.put = -1 AND d.key = w.key AND d.namespace = p_namespace;
    END IF;
    INSERT INTO oacp.receipts (attempt, outcome) VALUES (p_attempt, v_outcome);
    RETURN v_outcome;
END $$;
