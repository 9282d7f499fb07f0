-- Makes oacp.interactions a table partitioned by the month of commit. What it holds becomes the first partition, which
-- takes everything up to the end of the present month; an empty one is dropped. Run in one transaction; all writers wait for it.
LOCK TABLE oacp.agents, oacp.interactions IN ACCESS EXCLUSIVE MODE;
DROP VIEW IF EXISTS oacp.interactions_by_agent, oacp.interactions_by_day, oacp.interactions_by_type, oacp.interaction_log;
ALTER TABLE oacp.interactions RENAME TO interactions_before;
ALTER TABLE oacp.interactions_before DROP CONSTRAINT interactions_pkey;
ALTER INDEX oacp.interactions_by_id RENAME TO interactions_before_by_id;
ALTER INDEX IF EXISTS oacp.interactions_projection RENAME TO interactions_before_projection;
CREATE TABLE oacp.interactions (LIKE oacp.interactions_before INCLUDING DEFAULTS) PARTITION BY RANGE (committed);
ALTER TABLE oacp.interactions
    ADD CONSTRAINT interactions_pkey PRIMARY KEY (agent_id, namespace, sequence, committed);
CREATE INDEX interactions_by_id ON oacp.interactions (agent_id, namespace, id);
DO $$
DECLARE
    v_to timestamptz := (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
    v_grant record;
BEGIN
    IF to_regclass('oacp.interactions_before_projection') IS NOT NULL THEN
        CREATE INDEX interactions_projection ON oacp.interactions USING gin (oacp.projection(body) jsonb_path_ops);
    END IF;
    -- Roles that could use the table can use it as before.
    FOR v_grant IN
        SELECT grantee, privilege_type FROM information_schema.role_table_grants
        WHERE table_schema = 'oacp' AND table_name = 'interactions_before' AND grantee <> current_user
    LOOP
        EXECUTE format(
            'GRANT %s ON oacp.interactions TO %s', v_grant.privilege_type,
            CASE v_grant.grantee WHEN 'PUBLIC' THEN 'PUBLIC' ELSE quote_ident(v_grant.grantee) END
        );
    END LOOP;
    IF EXISTS (SELECT FROM oacp.interactions_before) THEN
        EXECUTE format(
            'ALTER TABLE oacp.interactions ATTACH PARTITION oacp.interactions_before '
            'FOR VALUES FROM (MINVALUE) TO (%L)', v_to
        );
        INSERT INTO oacp.partitions VALUES ('interactions_before', '-infinity', v_to);
    ELSE
        DROP TABLE oacp.interactions_before;
    END IF;
END $$;
