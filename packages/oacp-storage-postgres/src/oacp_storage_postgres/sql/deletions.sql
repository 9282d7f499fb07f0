-- Deletions, each step in one round trip and once per attempt. All raise OA001 when the schema is not that of
-- p_schema_version, and unique_violation on oacp.receipts when two senders of one attempt met.

-- One step of retention; every criterion that is not null must hold. Returns how many interactions went, and 1 when there
-- may be more. Rows go by ranges of their key, because a join with what was picked is only as good as the planner's guess.
CREATE FUNCTION oacp.trim_step(
    p_schema_version integer, p_namespace text, p_attempt text, p_agents text[], p_ids text[], p_before_us bigint,
    p_keep_last bigint, p_limit bigint
) RETURNS bigint[] LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
DECLARE
    v_outcome bigint[];
    v_agent record;
    v_last bigint;
    v_gone bigint;
    v_count bigint := 0;
    v_before_us bigint := coalesce(p_before_us, 9223372036854775807);
BEGIN
    v_outcome := oacp.receipt_of(p_schema_version, p_attempt);
    IF v_outcome IS NOT NULL THEN
        RETURN v_outcome;
    END IF;
    -- One retention at a time, while none of these agents is deleted: all of them lock the same rows.
    PERFORM pg_advisory_xact_lock(hashtextextended('oacp retention of ' || p_namespace, 0));
    FOR v_agent IN
        SELECT agent_id, head, floor FROM oacp.agents
        WHERE agent_id = ANY (p_agents) AND namespace = p_namespace ORDER BY agent_id FOR KEY SHARE
    LOOP
        v_last := v_agent.head;
        IF p_keep_last IS NOT NULL THEN
            SELECT sequence INTO v_last FROM oacp.interactions
            WHERE agent_id = v_agent.agent_id AND namespace = p_namespace AND sequence > v_agent.floor
            ORDER BY sequence DESC OFFSET p_keep_last LIMIT 1;
            CONTINUE WHEN NOT FOUND;
        END IF;
        IF p_ids IS NOT NULL THEN
            DELETE FROM oacp.interactions
            WHERE agent_id = v_agent.agent_id AND namespace = p_namespace AND id = ANY (p_ids)
                AND sequence > v_agent.floor AND sequence <= v_last AND at_us < v_before_us;
        ELSE
            v_last := coalesce((
                SELECT sequence FROM oacp.interactions
                WHERE agent_id = v_agent.agent_id AND namespace = p_namespace AND sequence > v_agent.floor
                    AND sequence <= v_last AND at_us < v_before_us
                ORDER BY sequence OFFSET p_limit - v_count - 1 LIMIT 1
            ), v_last);
            DELETE FROM oacp.interactions
            WHERE agent_id = v_agent.agent_id AND namespace = p_namespace AND sequence > v_agent.floor
                AND sequence <= v_last AND at_us < v_before_us;
        END IF;
        GET DIAGNOSTICS v_gone = ROW_COUNT;
        v_count := v_count + v_gone;
        EXIT WHEN v_count >= p_limit;
    END LOOP;
    v_outcome := ARRAY[v_count, (v_count >= p_limit)::integer];
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
    v_end record;
    v_last bigint;
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
        SELECT sequence INTO v_last FROM oacp.interactions
        WHERE agent_id = p_agent AND namespace = p_namespace AND sequence <= v_hidden.last_sequence
        ORDER BY sequence OFFSET p_limit - 1 LIMIT 1;
        DELETE FROM oacp.interactions
        WHERE agent_id = p_agent AND namespace = p_namespace
            AND sequence <= coalesce(v_last, v_hidden.last_sequence);
        GET DIAGNOSTICS v_gone = ROW_COUNT;
        SELECT kind, key INTO v_end FROM oacp.documents
        WHERE agent_id = p_agent AND namespace = p_namespace AND incarnation = v_hidden.incarnation
        ORDER BY kind, key OFFSET p_limit - 1 LIMIT 1;
        WITH gone AS (
            DELETE FROM oacp.documents
            WHERE agent_id = p_agent AND namespace = p_namespace AND incarnation = v_hidden.incarnation
                AND (v_end.key IS NULL OR (kind, key) <= (v_end.kind, v_end.key))
            RETURNING kind
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
