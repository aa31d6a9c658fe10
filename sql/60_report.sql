-- Reports: definitions, runs, files.

CREATE TABLE automate.report (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    description text,
    owner       regrole NOT NULL,
    version     integer NOT NULL DEFAULT 1,
    created_by  regrole NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT report_name UNIQUE (owner, name)
);
CREATE TABLE automate.report_version (
    report      uuid NOT NULL,
    version     integer NOT NULL,
    owner       regrole NOT NULL,
    definition  jsonb NOT NULL,
    search_path text NOT NULL,
    created_by  regrole NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (report, version)
);
SELECT pg_catalog.pg_extension_config_dump('automate.report', '');
SELECT pg_catalog.pg_extension_config_dump('automate.report_version', '');
COMMENT ON TABLE automate.report IS
'Reports: automate.create_report defines one, automate.run_report renders it in the background, automate.report_text at once.';
COMMENT ON COLUMN automate.report.id IS 'uuid v7.';
COMMENT ON COLUMN automate.report.name IS 'Unique among the reports of its owner.';
COMMENT ON COLUMN automate.report.description IS 'For people.';
COMMENT ON COLUMN automate.report.owner IS 'Role with whose rights the datasets are read, whoever asks for the report.';
COMMENT ON COLUMN automate.report.version IS 'The version that runs now.';
COMMENT ON COLUMN automate.report.created_by IS 'Role that defined it.';
COMMENT ON COLUMN automate.report.created_at IS 'When it was first defined.';
COMMENT ON COLUMN automate.report.updated_at IS 'When its current version was made.';
COMMENT ON TABLE automate.report_version IS 'The definitions of reports, one a version; a run keeps to the version with which it was started.';
COMMENT ON COLUMN automate.report_version.report IS 'The report.';
COMMENT ON COLUMN automate.report_version.version IS 'Counts from 1.';
COMMENT ON COLUMN automate.report_version.owner IS 'Owner of the report.';
COMMENT ON COLUMN automate.report_version.definition IS 'title, params, datasets, layout, formats, on_empty, locale, time_zone, csv.';
COMMENT ON COLUMN automate.report_version.search_path IS 'search_path under which its SQL was written.';
COMMENT ON COLUMN automate.report_version.created_by IS 'Role that made this version.';
COMMENT ON COLUMN automate.report_version.created_at IS 'When it was made.';

CREATE TABLE automate.report_run (
    id          uuid PRIMARY KEY,
    report      text NOT NULL,
    report_id   uuid NOT NULL,
    version     integer NOT NULL,
    owner       regrole NOT NULL,
    status      text NOT NULL DEFAULT 'pending',
    params      jsonb NOT NULL,
    formats     text[] NOT NULL,
    deliver     jsonb,
    job         uuid NOT NULL,
    source      text,
    rows        bigint,
    notification uuid,
    error       text,
    as_of       timestamptz,
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    started_at  timestamptz,
    finished_at timestamptz,
    CONSTRAINT report_run_status CHECK (
        (status OPERATOR(pg_catalog.=) 'pending' AND finished_at IS NULL)
        OR (status OPERATOR(pg_catalog.=) 'completed' AND finished_at IS NOT NULL AND as_of IS NOT NULL AND error IS NULL)
        OR (status OPERATOR(pg_catalog.=) 'failed' AND finished_at IS NOT NULL AND error IS NOT NULL))
);
CREATE INDEX report_run_created ON automate.report_run (created_at);
CREATE INDEX report_run_pending ON automate.report_run (job) WHERE status OPERATOR(pg_catalog.=) 'pending';
COMMENT ON TABLE automate.report_run IS
'Reports rendered in the background. Kept for automate.history_retention, like their files.';
COMMENT ON COLUMN automate.report_run.id IS 'uuid v7: sorts by the time it was made.';
COMMENT ON COLUMN automate.report_run.report IS 'Name of the report.';
COMMENT ON COLUMN automate.report_run.report_id IS 'The report.';
COMMENT ON COLUMN automate.report_run.version IS 'Its version.';
COMMENT ON COLUMN automate.report_run.owner IS 'Owner of the report, in whose session it is rendered.';
COMMENT ON COLUMN automate.report_run.status IS 'pending (to be rendered; being rendered now if automate.activity shows its job), completed or failed.';
COMMENT ON COLUMN automate.report_run.params IS 'The parameters as given; once completed, also the defaults that were used.';
COMMENT ON COLUMN automate.report_run.formats IS 'text, html, csv.';
COMMENT ON COLUMN automate.report_run.deliver IS '{"template", "recipients"}: where it is sent.';
COMMENT ON COLUMN automate.report_run.job IS 'The job that renders it.';
COMMENT ON COLUMN automate.report_run.source IS 'What caused it, such as task:daily.';
COMMENT ON COLUMN automate.report_run.rows IS 'Rows of all its datasets.';
COMMENT ON COLUMN automate.report_run.notification IS 'The notification with which it was sent; empty if it was not, such as an empty report with "on_empty": "skip".';
COMMENT ON COLUMN automate.report_run.error IS 'Why it failed.';
COMMENT ON COLUMN automate.report_run.as_of IS 'The instant of the snapshot in which all datasets were read.';
COMMENT ON COLUMN automate.report_run.created_at IS 'When it was asked for.';
COMMENT ON COLUMN automate.report_run.started_at IS 'When rendering began.';
COMMENT ON COLUMN automate.report_run.finished_at IS 'When it ended.';

CREATE TABLE automate.report_file (
    run    uuid NOT NULL,
    format text NOT NULL,
    part   integer NOT NULL,
    owner  regrole NOT NULL,
    bytes  bytea NOT NULL,
    PRIMARY KEY (run, format, part)
);
ALTER TABLE automate.report_file ALTER COLUMN bytes SET STORAGE EXTERNAL;
COMMENT ON TABLE automate.report_file IS 'The rendered files in parts of at most 1 MB; automate.report_file(run, format) puts them together.';
COMMENT ON COLUMN automate.report_file.run IS 'The run.';
COMMENT ON COLUMN automate.report_file.format IS 'text, html or csv.';
COMMENT ON COLUMN automate.report_file.part IS 'Counts from 0.';
COMMENT ON COLUMN automate.report_file.owner IS 'Owner of the run.';
COMMENT ON COLUMN automate.report_file.bytes IS 'The part.';

ALTER TABLE automate.report ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.report_version ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.report_run ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.report_file ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.report FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
CREATE POLICY own ON automate.report_version FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
CREATE POLICY own ON automate.report_run FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
CREATE POLICY own ON automate.report_file FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON automate.report IS 'A role sees what it owns, and what roles own whose privileges it has.';
COMMENT ON POLICY own ON automate.report_version IS 'A role sees what it owns, and what roles own whose privileges it has.';
COMMENT ON POLICY own ON automate.report_run IS 'A role sees what it owns, and what roles own whose privileges it has.';
COMMENT ON POLICY own ON automate.report_file IS 'A role sees what it owns, and what roles own whose privileges it has; the data in it is nobody else''s affair.';

CREATE FUNCTION automate.create_report(name text, definition jsonb, description text DEFAULT NULL) RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_create_report';
COMMENT ON FUNCTION automate.create_report(text, jsonb, text) IS
'Defines a report, or a new version of one of the caller''s; returns the version. definition: {"title", "params": {"from": {"type": "date", "default": "current_date - 7"}}, "datasets": {"d": {"sql": "SELECT ... WHERE day >= $from"}}, "layout": [{"text"}, {"table": {"data": "d"}}, {"chart"}], "formats": ["text", "html", "csv"], ...}. Everything is checked now, with the caller''s rights.';

CREATE FUNCTION automate.drop_report(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_drop_report';
COMMENT ON FUNCTION automate.drop_report(text) IS
'Removes a report with all its versions; runs that are completed keep their files.';

CREATE FUNCTION automate.run_report(name text, params jsonb DEFAULT '{}', formats text[] DEFAULT NULL) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_run_report';
COMMENT ON FUNCTION automate.run_report(text, jsonb, text[]) IS
'Renders a report in the background, after the caller''s transaction commits; returns the run''s id for automate.report_run and automate.report_file(run, format). All datasets are read in one snapshot.';

CREATE FUNCTION automate.report_text(name text, params jsonb DEFAULT '{}') RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_report_text';
COMMENT ON FUNCTION automate.report_text(text, jsonb) IS
'Renders a report at once as text for a terminal, with the rights of its owner, whose privileges the caller must have.';

CREATE FUNCTION automate.report_html(name text, params jsonb DEFAULT '{}') RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_report_html';
COMMENT ON FUNCTION automate.report_html(text, jsonb) IS
'Renders a report at once as a page of HTML that needs nothing else, with the rights of its owner, whose privileges the caller must have.';

CREATE FUNCTION automate.report_csv(name text, params jsonb DEFAULT '{}') RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_report_csv';
COMMENT ON FUNCTION automate.report_csv(text, jsonb) IS
'Renders one dataset of a report at once as CSV, with the rights of its owner, whose privileges the caller must have.';

CREATE FUNCTION automate.report_file(run uuid, format text) RETURNS bytea
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_report_file';
COMMENT ON FUNCTION automate.report_file(uuid, text) IS
'The file of a completed run in a format: text, html or csv.';
