-- Calendars: days and hours that schedules leave out, or keep to.

CREATE TABLE automate.calendar (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    description text,
    owner       regrole NOT NULL,
    entries     jsonb NOT NULL,
    time_zone   text,
    version     integer NOT NULL DEFAULT 1,
    created_by  regrole NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT calendar_name UNIQUE (owner, name)
);
SELECT pg_catalog.pg_extension_config_dump('automate.calendar', '');
COMMENT ON TABLE automate.calendar IS
'Calendars such as the holidays of a place: automate.create_calendar makes one, schedules name it as {"except": [{"calendar": name}]}.';
COMMENT ON COLUMN automate.calendar.id IS 'uuid v7.';
COMMENT ON COLUMN automate.calendar.name IS 'Unique among the calendars of its owner.';
COMMENT ON COLUMN automate.calendar.description IS 'For people.';
COMMENT ON COLUMN automate.calendar.owner IS 'Role that may change it; it and roles with its privileges may name it in schedules.';
COMMENT ON COLUMN automate.calendar.entries IS 'An array: a moment is in the calendar if it is in one of these. See automate.create_calendar.';
COMMENT ON COLUMN automate.calendar.time_zone IS 'IANA zone of its days and hours; empty: that of the schedule that names it.';
COMMENT ON COLUMN automate.calendar.version IS 'Goes up with every change.';
COMMENT ON COLUMN automate.calendar.created_by IS 'Role that defined it.';
COMMENT ON COLUMN automate.calendar.created_at IS 'When it was defined.';
COMMENT ON COLUMN automate.calendar.updated_at IS 'When it was last changed.';

ALTER TABLE automate.calendar ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.calendar FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.calendar IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE FUNCTION automate.create_calendar(
    name        text,
    entries     jsonb,
    time_zone   text DEFAULT NULL,
    description text DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_create_calendar';
COMMENT ON FUNCTION automate.create_calendar(text, jsonb, text, text) IS
'Makes a calendar that schedules name in "except" or "only"; returns its id. entries is an array of {"days": ["2026-12-25", "12-26"]} (a day, or a day of each year), {"from": "2026-12-24", "until": "2027-01-02"} (until is no longer in it), {"weekdays": "sat,sun"}, {"hours": "22:00-06:00"} and {"rrule": "FREQ=YEARLY;BYMONTH=5;BYDAY=-1MO"} (the days of such a rule); several keys in one object are all to hold. All is wall time of time_zone, by default of the schedule that names the calendar.';

CREATE FUNCTION automate.alter_calendar(
    name        text,
    entries     jsonb DEFAULT NULL,
    time_zone   text DEFAULT NULL,
    description text DEFAULT NULL,
    new_name    text DEFAULT NULL)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_alter_calendar';
COMMENT ON FUNCTION automate.alter_calendar(text, jsonb, text, text, text) IS
'Changes what is given of a calendar; returns its version. The next runs of the tasks whose schedules name it are set anew in the same transaction; a task that has none left is disabled, and automate.task.status_reason says so. What is due already still runs.';

CREATE FUNCTION automate.drop_calendar(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_drop_calendar';
COMMENT ON FUNCTION automate.drop_calendar(text) IS
'Removes a calendar; refused while the schedule of a task names it.';
