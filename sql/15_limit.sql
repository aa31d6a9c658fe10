-- Limits of a role, so that one tenant's flood is its own affair.

CREATE TABLE automate.role_limit (
    role          regrole PRIMARY KEY,
    running       integer,
    queued        integer,
    per_day       bigint,
    bytes_per_day bigint,
    CONSTRAINT role_limit_running CHECK (running OPERATOR(pg_catalog.>) 0),
    CONSTRAINT role_limit_queued CHECK (queued OPERATOR(pg_catalog.>) 0),
    CONSTRAINT role_limit_day CHECK (per_day OPERATOR(pg_catalog.>) 0 AND bytes_per_day OPERATOR(pg_catalog.>) 0),
    CONSTRAINT role_limit_some CHECK (pg_catalog.num_nonnulls(running, queued, per_day, bytes_per_day) OPERATOR(pg_catalog.>) 0)
);
COMMENT ON TABLE automate.role_limit IS
'What a role may take of the queue; a role without a row has no limits of its own. Set by automate.limit_role.';
COMMENT ON COLUMN automate.role_limit.role IS 'The role.';
COMMENT ON COLUMN automate.role_limit.running IS 'Most executors that work for it at once; empty: automate.max_executors alone.';
COMMENT ON COLUMN automate.role_limit.queued IS 'Most of its jobs that may wait: beyond it its calls are refused; empty: any number.';
COMMENT ON COLUMN automate.role_limit.per_day IS 'Most calls a day (UTC) that queue something; empty: any number.';
COMMENT ON COLUMN automate.role_limit.bytes_per_day IS 'Most bytes a day of what those calls bring: statements, parameters, inputs, payloads, data; empty: any number.';
SELECT pg_catalog.pg_extension_config_dump('automate.role_limit', '');

ALTER TABLE automate.role_limit ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.role_limit FOR SELECT USING (
    pg_catalog.pg_has_role(role, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.role_limit IS 'A role sees its own limits, and those of roles whose privileges it has.';

CREATE FUNCTION automate.limit_role(
    role          regrole,
    running       integer DEFAULT NULL,
    queued        integer DEFAULT NULL,
    per_day       bigint DEFAULT NULL,
    bytes_per_day bigint DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_limit_role';
COMMENT ON FUNCTION automate.limit_role(regrole, integer, integer, bigint, bigint) IS
'Limits a role: running is the most executors that work for it at once, queued the most of its jobs that may wait, per_day and bytes_per_day the most calls and bytes that it may queue in a day (UTC; rolled back ones count, a restart of the server begins anew). A call beyond that fails with 53400; what rules, schedules and runs cause is never refused. Sessions read the limits, and count what waits, once a second: a few more may slip in. NULL is no limit.';
