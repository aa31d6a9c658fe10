-- Limits of a role, so that one tenant's flood is its own affair.

CREATE TABLE automate.role_limit (
    role    regrole PRIMARY KEY,
    running integer,
    queued  integer,
    CONSTRAINT role_limit_running CHECK (running OPERATOR(pg_catalog.>) 0),
    CONSTRAINT role_limit_queued CHECK (queued OPERATOR(pg_catalog.>) 0),
    CONSTRAINT role_limit_some CHECK (running IS NOT NULL OR queued IS NOT NULL)
);
COMMENT ON TABLE automate.role_limit IS
'What a role may take of the queue; a role without a row has no limits of its own. Set by automate.limit_role.';
COMMENT ON COLUMN automate.role_limit.role IS 'The role.';
COMMENT ON COLUMN automate.role_limit.running IS 'Most executors that work for it at once; empty: automate.max_executors alone.';
COMMENT ON COLUMN automate.role_limit.queued IS 'Most of its jobs that may wait: beyond it its calls are refused; empty: any number.';
SELECT pg_catalog.pg_extension_config_dump('automate.role_limit', '');

ALTER TABLE automate.role_limit ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.role_limit FOR SELECT USING (
    pg_catalog.pg_has_role(role, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.role_limit IS 'A role sees its own limits, and those of roles whose privileges it has.';

CREATE FUNCTION automate.limit_role(role regrole, running integer DEFAULT NULL, queued integer DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_limit_role';
COMMENT ON FUNCTION automate.limit_role(regrole, integer, integer) IS
'Limits a role: running is the most executors that work for it at once, queued the most of its jobs that may wait. A call that would queue more fails with 53400; what rules, schedules and runs cause is never refused. Sessions count anew once a second, so that a few more may slip in. NULL is no limit.';
