-- Views for people and reports; data is jsonb where the body can be (see oacp.projection). Run again after partitioning.
CREATE OR REPLACE VIEW oacp.interaction_log AS
    SELECT i.namespace, i.agent_id, i.sequence, i.id,
           timestamptz 'epoch' + i.at_us * interval '1 microsecond' AS at,
           oacp.projection(i.body) ->> 'type' AS type, oacp.projection(i.body) AS data
    FROM oacp.interactions i JOIN oacp.agents a USING (agent_id, namespace)
    WHERE i.sequence > a.floor;

CREATE OR REPLACE VIEW oacp.interactions_by_agent AS
    SELECT namespace, agent_id, count(*) AS interactions, min(at) AS first_at, max(at) AS last_at
    FROM oacp.interaction_log GROUP BY namespace, agent_id;

CREATE OR REPLACE VIEW oacp.interactions_by_day AS
    SELECT namespace, (at AT TIME ZONE 'UTC')::date AS day, count(*) AS interactions,
           count(DISTINCT agent_id) AS agents
    FROM oacp.interaction_log GROUP BY namespace, day;

CREATE OR REPLACE VIEW oacp.interactions_by_type AS
    SELECT namespace, type, count(*) AS interactions, count(DISTINCT agent_id) AS agents
    FROM oacp.interaction_log GROUP BY namespace, type;

CREATE OR REPLACE VIEW oacp.agent_states AS
    SELECT d.namespace, d.agent_id, d.version,
           timestamptz 'epoch' + d.at_us * interval '1 microsecond' AS updated_at,
           oacp.projection(d.body) AS data
    FROM oacp.documents d JOIN oacp.agents a USING (agent_id, namespace, incarnation)
    WHERE d.kind = 'state';

CREATE OR REPLACE VIEW oacp.learning_data AS
    SELECT d.namespace, d.agent_id, d.key, d.version,
           timestamptz 'epoch' + d.at_us * interval '1 microsecond' AS updated_at,
           oacp.projection(d.body) AS data
    FROM oacp.documents d JOIN oacp.agents a USING (agent_id, namespace, incarnation)
    WHERE d.kind = 'learning';
