-- Makes oacp.interactions a table partitioned by the month of commit. Run in one transaction with views.sql, which points
-- the views to the new table, and then first_partition.sql. Readers and writers wait until it ends.
LOCK TABLE oacp.agents, oacp.interactions IN ACCESS EXCLUSIVE MODE;
ALTER TABLE oacp.interactions RENAME TO interactions_before;
ALTER TABLE oacp.interactions_before DROP CONSTRAINT interactions_pkey;
ALTER INDEX oacp.interactions_by_id RENAME TO interactions_before_by_id;
ALTER INDEX IF EXISTS oacp.interactions_projection RENAME TO interactions_before_projection;
CREATE TABLE oacp.interactions (LIKE oacp.interactions_before INCLUDING DEFAULTS) PARTITION BY RANGE (committed);
ALTER TABLE oacp.interactions
    ADD CONSTRAINT interactions_pkey PRIMARY KEY (agent_id, namespace, sequence, committed);
CREATE INDEX interactions_by_id ON oacp.interactions (id, agent_id, namespace);
DO $$
DECLARE
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
END $$;
