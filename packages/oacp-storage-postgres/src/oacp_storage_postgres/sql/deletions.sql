-- Deletions, each step in one round trip and once per attempt. All raise OA001 when the schema is not that of
-- p_schema_version, and unique_violation on oacp.receipts when two senders of one attempt met.

-- The interactions that retention picks; every criterion that is not null must hold.
CREATE FUNCTION oacp.picked(
    p_namespace text, p_agents text[], p_ids text[], p_before_us bigint, p_keep_last bigint
) RETURNS TABLE (agent_id text, sequence bigint) LANGUAGE sql STABLE AS $$
    SELECT i.agent_id, i.sequence
    FROM oacp.agents a
    CROSS JOIN LATERAL (
        SELECT CASE WHEN p_keep_last IS NULL THEN 9223372036854775807 ELSE coalesce((
            SELECT k.sequence FROM oacp.interactions k
            WHERE k.agent_id = a.agent_id AND k.namespace = a.namespace AND k.sequence > a.floor
            ORDER BY k.sequence DESC OFFSET p_keep_last LIMIT 1), 0) END AS cutoff
    ) c
    JOIN oacp.interactions i ON i.agent_id = a.agent_id AND i.namespace = a.namespace
        AND i.sequence > a.floor AND i.sequence <= c.cutoff
    WHERE a.namespace = p_namespace AND a.agent_id = ANY (p_agents)
        AND (p_ids IS NULL OR i.id = ANY (p_ids)) AND (p_before_us IS NULL OR i.at_us < p_before_us)
$$;

-- One step of retention. Returns how many interactions went, and 1 when there may be more.
CREATE FUNCTION oacp.trim_step(
    p_schema_version integer, p_namespace text, p_attempt text, p_agents text[], p_ids text[], p_before_us bigint,
    p_keep_last bigint, p_limit bigint
) RETURNS bigint[] LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
DECLARE
    v_outcome bigint[];
    v_count bigint;
BEGIN
    v_outcome := oacp.receipt_of(p_schema_version, p_attempt);
    IF v_outcome IS NOT NULL THEN
        RETURN v_outcome;
    END IF;
    -- One retention at a time, while none of these agents is deleted: all of them lock the same rows.
    PERFORM pg_advisory_xact_lock(hashtextextended('oacp retention of ' || p_namespace, 0));
    PERFORM 1 FROM (
        SELECT FROM oacp.agents WHERE agent_id = ANY (p_agents) AND namespace = p_namespace
        ORDER BY agent_id FOR KEY SHARE
    ) locked;
    WITH gone AS (
        DELETE FROM oacp.interactions d
        USING (SELECT * FROM oacp.picked(p_namespace, p_agents, p_ids, p_before_us, p_keep_last) LIMIT p_limit) p
        WHERE d.agent_id = p.agent_id AND d.namespace = p_namespace AND d.sequence = p.sequence RETURNING 1
    )
    SELECT count(*) INTO v_count FROM gone;
    v_outcome := ARRAY[v_count, (v_count = p_limit)::integer];
    INSERT INTO oacp.receipts (attempt, outcome) VALUES (p_attempt, v_outcome);
    RETURN v_outcome;
END $$;

-- One step of deleting an agent; the first one (p_begin) hides it and all that it has at once. Without p_attempt it goes
-- on with what was hidden before. Returns how many interactions, states and learning data went, and 1 when there may
-- be more.
CREATE FUNCTION oacp.erase_step(
    p_schema_version integer, p_namespace text, p_attempt text, p_agent text, p_begin boolean, p_limit bigint
) RETURNS bigint[] LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
DECLARE
    v_outcome bigint[];
    v_hidden record;
    v_interactions bigint := 0;
    v_states bigint := 0;
    v_learning bigint := 0;
    v_gone bigint;
    v_gone_states bigint;
    v_gone_learning bigint;
    v_more integer := 0;
BEGIN
    v_outcome := oacp.receipt_of(p_schema_version, p_attempt);
    IF v_outcome IS NOT NULL THEN
        RETURN v_outcome;
    END IF;
    IF p_begin THEN
        WITH hidden AS (
            DELETE FROM oacp.agents WHERE agent_id = p_agent AND namespace = p_namespace RETURNING head, incarnation
        ), pending AS (
            INSERT INTO oacp.erasures (agent_id, namespace, incarnation, last_sequence)
            SELECT p_agent, p_namespace, incarnation, head FROM hidden
        )
        INSERT INTO oacp.tombstones (agent_hash, namespace, last_sequence)
        SELECT oacp.agent_hash(p_namespace, p_agent), p_namespace, head FROM hidden
        ON CONFLICT (agent_hash, namespace) DO UPDATE SET last_sequence = excluded.last_sequence;
    END IF;
    FOR v_hidden IN
        SELECT incarnation, last_sequence FROM oacp.erasures
        WHERE agent_id = p_agent AND namespace = p_namespace ORDER BY incarnation FOR UPDATE
    LOOP
        WITH gone AS (
            DELETE FROM oacp.interactions d USING (
                SELECT sequence FROM oacp.interactions
                WHERE agent_id = p_agent AND namespace = p_namespace AND sequence <= v_hidden.last_sequence
                ORDER BY sequence LIMIT p_limit
            ) p
            WHERE d.agent_id = p_agent AND d.namespace = p_namespace AND d.sequence = p.sequence RETURNING 1
        )
        SELECT count(*) INTO v_gone FROM gone;
        WITH gone AS (
            DELETE FROM oacp.documents d USING (
                SELECT kind, key FROM oacp.documents
                WHERE agent_id = p_agent AND namespace = p_namespace AND incarnation = v_hidden.incarnation
                LIMIT p_limit
            ) p
            WHERE d.agent_id = p_agent AND d.namespace = p_namespace AND d.incarnation = v_hidden.incarnation
                AND d.kind = p.kind AND d.key = p.key RETURNING d.kind
        )
        SELECT count(*) FILTER (WHERE kind = 'state'), count(*) FILTER (WHERE kind = 'learning')
        INTO v_gone_states, v_gone_learning FROM gone;
        v_interactions := v_interactions + v_gone;
        v_states := v_states + v_gone_states;
        v_learning := v_learning + v_gone_learning;
        IF v_gone = p_limit OR v_gone_states + v_gone_learning = p_limit THEN
            v_more := 1;
            EXIT;
        END IF;
        DELETE FROM oacp.erasures
        WHERE agent_id = p_agent AND namespace = p_namespace AND incarnation = v_hidden.incarnation;
    END LOOP;
    v_outcome := ARRAY[v_interactions, v_states, v_learning, v_more];
    IF p_attempt IS NOT NULL THEN
        INSERT INTO oacp.receipts (attempt, outcome) VALUES (p_attempt, v_outcome);
    END IF;
    RETURN v_outcome;
END $$;
