-- Appends of new interactions, whose ids were generated, to agents that exist: all in one round trip.
--
--   p_agents  the agents, sorted by code point, without repetition; p_counts how many each gets
--   r_*       one element per interaction: the index of its agent (from 1), its ordinal there (from 1), ...
--
-- Returns the new heads in the order of p_agents; null when one of them does not exist, and nothing is then written.
-- Raises unique_violation on oacp.receipts when the attempt was applied before, and OA001 when the schema is not that
-- of p_schema_version. Rows are locked in one order everywhere, so that there are no deadlocks.
CREATE FUNCTION oacp.append_group(
    p_schema_version integer, p_namespace text, p_attempt text, p_agents text[], p_counts bigint[],
    r_agent integer[], r_ordinal bigint[], r_id text[], r_at_us bigint[], r_crc bigint[], r_size integer[],
    r_body text[]
) RETURNS bigint[] LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    v_heads bigint[];
    v_found integer;
    v_schema integer;
BEGIN
    PERFORM oacp.begin_write();
    IF array_length(p_agents, 1) = 1 THEN
        UPDATE oacp.agents SET head = head + p_counts[1] WHERE agent_id = p_agents[1] AND namespace = p_namespace
        RETURNING ARRAY[head], (SELECT schema_version FROM oacp.meta) INTO v_heads, v_schema;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    ELSE
        SELECT count(*), (SELECT schema_version FROM oacp.meta) INTO v_found, v_schema FROM (
            SELECT FROM oacp.agents WHERE agent_id = ANY (p_agents) AND namespace = p_namespace
            ORDER BY agent_id FOR NO KEY UPDATE
        ) locked;
        IF v_found < array_length(p_agents, 1) THEN
            RETURN NULL;
        END IF;
        -- A later statement sees what was committed while this one waited for the locks.
        WITH advanced AS (
            UPDATE oacp.agents a SET head = a.head + c.n
            FROM unnest(p_agents, p_counts) AS c (agent_id, n)
            WHERE a.agent_id = c.agent_id AND a.namespace = p_namespace
            RETURNING a.agent_id, a.head
        )
        SELECT array_agg(advanced.head ORDER BY advanced.agent_id) INTO v_heads FROM advanced;
    END IF;
    IF v_schema IS DISTINCT FROM p_schema_version THEN
        RAISE EXCEPTION 'the schema version is %', v_schema USING ERRCODE = 'OA001';
    END IF;
    INSERT INTO oacp.interactions (agent_id, namespace, sequence, id, at_us, crc, size, body)
    SELECT p_agents[r.agent], p_namespace, v_heads[r.agent] - p_counts[r.agent] + r.ordinal,
           r.id, r.at_us, r.crc, r.size, r.body::json
    FROM unnest(r_agent, r_ordinal, r_id, r_at_us, r_crc, r_size, r_body)
         AS r (agent, ordinal, id, at_us, crc, size, body);
    INSERT INTO oacp.receipts (attempt, outcome) VALUES (p_attempt, 0::bigint || v_heads);
    RETURN 0::bigint || v_heads;
END $$;
