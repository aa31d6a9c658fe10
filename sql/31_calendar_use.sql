-- Which tasks name a calendar, among very many that do not.

CREATE INDEX task_calendar ON automate.task (id) WHERE pg_catalog.jsonb_path_exists(schedule, '$.**.calendar');
COMMENT ON INDEX automate.task_calendar IS 'The tasks whose schedules name calendars.';
