-- Partitions of oacp.interactions by the month of commit, where it is partitioned. These functions run with the rights of
-- their owner, so that a role without DDL may have partitions created ahead and dropped; see the README for the grants.

-- What each partition holds: commits from from_at to before to_at.
CREATE TABLE oacp.partitions (
    name text COLLATE "C" PRIMARY KEY,
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL
);

CREATE FUNCTION oacp.is_partitioned() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT c.relkind = 'p' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'oacp' AND c.relname = 'interactions'
$$;

-- Creates what is missing of the partitions of this month and the next; returns how many that were.
CREATE FUNCTION oacp.create_partitions() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    v_from timestamptz;
    v_to timestamptz;
    v_name text;
    v_count integer := 0;
BEGIN
    IF NOT oacp.is_partitioned() THEN
        RETURN 0;
    END IF;
    FOR k IN 0 .. 1 LOOP
        v_from := date_trunc('month', now()) + k * interval '1 month';
        v_to := v_from + interval '1 month';
        CONTINUE WHEN EXISTS (SELECT FROM oacp.partitions WHERE from_at <= v_from AND to_at >= v_to);
        PERFORM pg_advisory_xact_lock(hashtextextended('oacp schema', 0));
        CONTINUE WHEN EXISTS (SELECT FROM oacp.partitions WHERE from_at <= v_from AND to_at >= v_to);
        v_name := 'interactions_' || to_char(v_from, 'YYYY_MM');
        -- Attaching a table lets readers and writers go on; CREATE TABLE ... PARTITION OF would stop them.
        EXECUTE format('CREATE TABLE oacp.%I (LIKE oacp.interactions INCLUDING DEFAULTS)', v_name);
        EXECUTE format(
            'ALTER TABLE oacp.interactions ATTACH PARTITION oacp.%I FOR VALUES FROM (%L) TO (%L)',
            v_name, v_from, v_to
        );
        INSERT INTO oacp.partitions VALUES (v_name, v_from, v_to);
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END $$;

-- Drops each past partition in which every row is of this namespace and before p_before_us, and returns how many
-- interactions went. One that somebody keeps in use, or has a view of, is left, and its rows to trim_step.
CREATE FUNCTION oacp.drop_covered(
    p_schema_version integer, p_namespace text, p_attempt text, p_before_us bigint
) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    v_outcome bigint[];
    v_dropped bigint := 0;
    v_others boolean;
    v_count bigint;
    v_name text;
    v_names text[] := '{}';
    v_counts bigint[] := '{}';
    c_others constant text := 'SELECT EXISTS (SELECT FROM oacp.%I WHERE namespace <> $1 OR at_us >= $2)';
BEGIN
    v_outcome := oacp.receipt_of(p_schema_version, p_attempt);
    IF v_outcome IS NOT NULL THEN
        RETURN v_outcome;
    END IF;
    -- What is no partition is not touched, whatever stands in the list.
    FOR v_name IN
        SELECT p.name FROM oacp.partitions p
        JOIN pg_inherits h ON h.inhparent = 'oacp.interactions'::regclass
        JOIN pg_class c ON c.oid = h.inhrelid AND c.relname = p.name AND c.relnamespace = 'oacp'::regnamespace
        WHERE p.to_at <= now() ORDER BY p.from_at
    LOOP
        EXECUTE format(c_others, v_name) INTO v_others USING p_namespace, p_before_us;
        CONTINUE WHEN v_others;
        BEGIN
            EXECUTE format('LOCK TABLE oacp.%I IN SHARE MODE', v_name); -- nobody writes to it any more
            EXECUTE format(c_others, v_name) INTO v_others USING p_namespace, p_before_us;
            CONTINUE WHEN v_others;
            EXECUTE format(
                'SELECT count(*) FROM oacp.%I i JOIN oacp.agents a ON a.agent_id = i.agent_id '
                'AND a.namespace = i.namespace AND i.sequence > a.floor', v_name
            ) INTO v_count;
            v_names := v_names || v_name;
            v_counts := v_counts || v_count;
        EXCEPTION WHEN lock_not_available THEN
            CONTINUE;
        END;
    END LOOP;
    -- The first drop locks all of oacp.interactions, so that nothing may take long from here on.
    SET LOCAL lock_timeout = '200ms';
    FOR i IN 1 .. cardinality(v_names) LOOP
        BEGIN
            EXECUTE format('DROP TABLE oacp.%I', v_names[i]);
            DELETE FROM oacp.partitions WHERE name = v_names[i];
            v_dropped := v_dropped + v_counts[i];
        EXCEPTION WHEN lock_not_available OR dependent_objects_still_exist THEN
            CONTINUE;
        END;
    END LOOP;
    v_outcome := ARRAY[v_dropped];
    INSERT INTO oacp.receipts (attempt, outcome) VALUES (p_attempt, v_outcome);
    RETURN v_outcome;
END $$;

REVOKE EXECUTE ON FUNCTION oacp.create_partitions(), oacp.drop_covered(integer, text, text, bigint) FROM PUBLIC;
