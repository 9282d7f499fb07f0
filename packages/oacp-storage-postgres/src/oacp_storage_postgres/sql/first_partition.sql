-- What stood in the table before it was partitioned becomes the first partition, which takes everything up to the end of
-- the present month; an empty one is dropped. Run after make_partitioned.sql and views.sql, in one transaction with them.
DO $$
DECLARE
    v_to timestamptz := (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
BEGIN
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
