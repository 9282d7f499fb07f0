-- What needs no judging, in one round trip: appends of new interactions, whose ids were generated, and puts of documents
-- that are put once, all of agents that exist.
--
--   p_agents  the agents, sorted by code point, without repetition; p_counts how many interactions each gets
--   r_*       one element per interaction: the index of its agent (from 1), its ordinal there (from 1), ...; none where the
--             caller copies them into the table afterwards, in the same transaction
--   d_*       one element per document: the index of its agent, ..., the version that it must have (null: any)
--
-- Returns 0, the new heads in the order of p_agents, and the new versions of the documents. Returns null, and nothing is
-- written, when an agent does not exist or a version is another one: commit_group judges that. Raises unique_violation on
-- oacp.receipts when the attempt was applied before, and OA001 when the schema is not that of p_schema_version. Rows are
-- locked in one order everywhere, so that there are no deadlocks.
CREATE FUNCTION oacp.write_group(
    p_schema_version integer, p_namespace text, p_attempt text, p_agents text[], p_counts bigint[],
    r_agent integer[], r_ordinal bigint[], r_id text[], r_at_us bigint[], r_crc bigint[], r_size integer[],
    r_body text[],
    d_agent integer[], d_kind text[], d_key text[], d_expected bigint[], d_at_us bigint[], d_crc bigint[], d_body text[]
) RETURNS bigint[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_bitmapscan = off SET enable_material = off
AS $$
DECLARE
    v_existing text[];
    v_heads bigint[];
    v_incarnations bigint[];
    v_versions bigint[] := '{}';
    v_as_expected boolean;
    v_advanced boolean := false;
    v_schema integer;
    v_outcome bigint[];
BEGIN
    PERFORM oacp.begin_write();
    IF 0 < ALL (p_counts) AND cardinality(array_remove(d_expected, NULL)) = 0 THEN
        -- All is written if all agents exist, so their heads are advanced without locking them first. With the settings
        -- above the only plan left walks the index by name, which is the order of the names, whatever the planner knows.
        IF cardinality(p_agents) = 1 THEN
            UPDATE oacp.agents SET head = head + p_counts[1] WHERE agent_id = p_agents[1] AND namespace = p_namespace
            RETURNING ARRAY[head], ARRAY[incarnation], (SELECT schema_version FROM oacp.meta)
            INTO v_heads, v_incarnations, v_schema;
        ELSE
            WITH w AS (
                UPDATE oacp.agents a SET head = a.head + c.n FROM unnest(p_agents, p_counts) AS c (agent_id, n)
                WHERE a.agent_id = c.agent_id AND a.agent_id = ANY (p_agents) AND a.namespace = p_namespace
                RETURNING a.agent_id, a.head, a.incarnation
            )
            SELECT array_agg(agent_id ORDER BY agent_id), array_agg(head ORDER BY agent_id),
                   array_agg(incarnation ORDER BY agent_id), (SELECT schema_version FROM oacp.meta)
            INTO v_existing, v_heads, v_incarnations, v_schema FROM w;
            IF cardinality(v_heads) < cardinality(p_agents) THEN
                -- Nobody saw it yet. One that another has created meanwhile was not advanced.
                UPDATE oacp.agents a SET head = a.head - c.n FROM unnest(p_agents, p_counts) AS c (agent_id, n)
                WHERE a.agent_id = c.agent_id AND a.agent_id = ANY (v_existing) AND a.namespace = p_namespace;
            END IF;
        END IF;
        v_advanced := true;
    ELSE
        SELECT array_agg(l.head + c.n ORDER BY l.agent_id), array_agg(l.incarnation ORDER BY l.agent_id),
               (SELECT schema_version FROM oacp.meta)
        INTO v_heads, v_incarnations, v_schema FROM (
            SELECT agent_id, head, incarnation FROM oacp.agents
            WHERE agent_id = ANY (p_agents) AND namespace = p_namespace ORDER BY agent_id FOR NO KEY UPDATE
        ) l JOIN unnest(p_agents, p_counts) AS c (agent_id, n) ON c.agent_id = l.agent_id;
    END IF;
    IF coalesce(cardinality(v_heads), 0) < cardinality(p_agents) THEN
        RETURN NULL;
    END IF;
    -- Later statements see what was committed while that one waited for the locks.
    IF cardinality(d_agent) > 0 THEN
        SELECT array_agg(w.version + 1 ORDER BY w.i), bool_and(w.version = coalesce(w.expected, w.version))
        INTO v_versions, v_as_expected FROM (
            SELECT p.i, p.expected, coalesce((
                SELECT d.version FROM oacp.documents d
                WHERE d.agent_id = p_agents[p.agent] AND d.namespace = p_namespace
                    AND d.incarnation = v_incarnations[p.agent] AND d.kind = p.kind AND d.key = p.key
            ), 0) AS version
            FROM unnest(d_agent, d_kind, d_key, d_expected) WITH ORDINALITY AS p (agent, kind, key, expected, i)
        ) w;
        IF NOT v_as_expected THEN
            RETURN NULL; -- nothing was written yet, because something was expected
        END IF;
    END IF;
    IF NOT v_advanced THEN
        UPDATE oacp.agents a SET head = c.head FROM unnest(p_agents, v_heads, p_counts) AS c (agent_id, head, n)
        WHERE a.agent_id = c.agent_id AND a.namespace = p_namespace AND c.n > 0;
    END IF;
    IF v_schema IS DISTINCT FROM p_schema_version THEN
        RAISE EXCEPTION 'the schema version is %', v_schema USING ERRCODE = 'OA001';
    END IF;
    IF cardinality(r_agent) = 1 THEN
        INSERT INTO oacp.interactions (agent_id, namespace, sequence, id, at_us, crc, size, body)
        VALUES (p_agents[r_agent[1]], p_namespace, v_heads[r_agent[1]],
                r_id[1], r_at_us[1], r_crc[1], r_size[1], r_body[1]::json);
    ELSIF cardinality(r_agent) > 1 THEN
        -- Arrays are fast to subscript in this language, faster than unnesting seven side by side.
        INSERT INTO oacp.interactions (agent_id, namespace, sequence, id, at_us, crc, size, body)
        SELECT p_agents[r_agent[i]], p_namespace, v_heads[r_agent[i]] - p_counts[r_agent[i]] + r_ordinal[i],
               r_id[i], r_at_us[i], r_crc[i], r_size[i], r_body[i]::json
        FROM generate_series(1, cardinality(r_agent)) AS i;
    END IF;
    IF cardinality(d_agent) > 0 THEN
        INSERT INTO oacp.documents AS d (agent_id, namespace, incarnation, kind, key, version, at_us, crc, body)
        SELECT p_agents[p.agent], p_namespace, v_incarnations[p.agent], p.kind, p.key, p.version, p.at_us, p.crc,
               p.body::json
        FROM unnest(d_agent, d_kind, d_key, v_versions, d_at_us, d_crc, d_body)
             AS p (agent, kind, key, version, at_us, crc, body)
        ON CONFLICT (agent_id, namespace, incarnation, kind, key) DO UPDATE
        SET version = excluded.version, at_us = excluded.at_us, crc = excluded.crc, body = excluded.body;
    END IF;
    v_outcome := 0::bigint || v_heads || v_versions;
    INSERT INTO oacp.receipts (attempt, outcome) VALUES (p_attempt, v_outcome);
    RETURN v_outcome;
END $$;
