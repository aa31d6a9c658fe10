-- Steps of runs that listen for events.

CREATE TABLE automate.run_listen (
    run        uuid NOT NULL,
    step       text NOT NULL,
    place      integer NOT NULL,
    event_type text,
    owner      regrole NOT NULL,
    since      timestamptz NOT NULL,
    PRIMARY KEY (run, step, place)
);
CREATE INDEX run_listen_type ON automate.run_listen (event_type);
COMMENT ON TABLE automate.run_listen IS
'What the steps of runs listen for now, a row for each filter of a step.';
COMMENT ON COLUMN automate.run_listen.run IS 'Id in automate.run.';
COMMENT ON COLUMN automate.run_listen.step IS 'Step, as in automate.run_step.';
COMMENT ON COLUMN automate.run_listen.place IS 'Counts the filters of the step from 0.';
COMMENT ON COLUMN automate.run_listen.event_type IS 'Name of the events; empty: any, or the filter is a pattern.';
COMMENT ON COLUMN automate.run_listen.owner IS 'The run''s owner.';
COMMENT ON COLUMN automate.run_listen.since IS 'Events from then on count: up to a minute before the step began to listen, and not before the run.';
ALTER TABLE automate.run_listen ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.run_listen FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.run_listen IS 'A role sees what it owns, and what roles own whose privileges it has.';
