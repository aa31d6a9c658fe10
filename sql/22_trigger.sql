-- Triggers: when something happens. A trigger records its event; rules, tasks and workflows subscribe to it.

CREATE TABLE automate.trigger (
    id            uuid PRIMARY KEY,
    name          text NOT NULL,
    description   text,
    owner         regrole NOT NULL,
    status        text NOT NULL,
    trigger_type  text NOT NULL,
    on_table      regclass,
    operations    text[],
    columns       text[],
    event         text,
    event_like    text GENERATED ALWAYS AS (CASE WHEN trigger_type OPERATOR(pg_catalog.=) 'event'
        AND pg_catalog.strpos(event, '*') OPERATOR(pg_catalog.>) 0 THEN
        pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(
            event, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%') END) STORED,
    schedule      jsonb,
    source        text,
    condition     text,
    conditions    jsonb,
    condition_sql text,
    options       jsonb NOT NULL DEFAULT '{}',
    search_path   text NOT NULL,
    version       integer NOT NULL DEFAULT 1,
    next_at       timestamptz,
    state         jsonb NOT NULL DEFAULT '{}',
    errors        bigint NOT NULL DEFAULT 0,
    last_error    text,
    last_error_at timestamptz,
    created_by    regrole NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT trigger_name UNIQUE (owner, name),
    CONSTRAINT trigger_status CHECK (
        status OPERATOR(pg_catalog.=) ANY (ARRAY['active', 'disabled'])
        OR (status OPERATOR(pg_catalog.=) 'broken' AND last_error IS NOT NULL)),
    CONSTRAINT trigger_type CHECK (trigger_type OPERATOR(pg_catalog.=) ANY (ARRAY['data', 'event', 'time', 'custom'])),
    CONSTRAINT trigger_data CHECK ((trigger_type OPERATOR(pg_catalog.=) 'data') OPERATOR(pg_catalog.=)
        (on_table IS NOT NULL AND operations IS NOT NULL)),
    CONSTRAINT trigger_time CHECK ((trigger_type OPERATOR(pg_catalog.=) 'time') OPERATOR(pg_catalog.=) (schedule IS NOT NULL)),
    CONSTRAINT trigger_custom CHECK ((trigger_type OPERATOR(pg_catalog.=) 'custom') OPERATOR(pg_catalog.=) (source IS NOT NULL)),
    CONSTRAINT trigger_condition CHECK (condition IS NULL OR conditions IS NULL)
) WITH (fillfactor = 70);
CREATE INDEX trigger_on_table ON automate.trigger (on_table) WHERE on_table IS NOT NULL;
CREATE INDEX trigger_event ON automate.trigger (event) WHERE trigger_type OPERATOR(pg_catalog.=) 'event';
CREATE INDEX trigger_event_like ON automate.trigger (id) WHERE event_like IS NOT NULL;
CREATE INDEX trigger_next ON automate.trigger (next_at) WHERE next_at IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('automate.trigger', '');
COMMENT ON TABLE automate.trigger IS
'Triggers, written by automate.create_trigger and its siblings. What they fired is in automate.event.';
COMMENT ON COLUMN automate.trigger.id IS 'uuid v7.';
COMMENT ON COLUMN automate.trigger.name IS 'Unique among the triggers of its owner.';
COMMENT ON COLUMN automate.trigger.description IS 'For people.';
COMMENT ON COLUMN automate.trigger.owner IS 'Role with whose rights it looks, whoever causes what it looks at; owner of the events that it records.';
COMMENT ON COLUMN automate.trigger.status IS 'active, disabled, or broken (last_error says why; automate.enable_trigger checks it anew).';
COMMENT ON COLUMN automate.trigger.trigger_type IS 'data (changes of a table), event (events of a name), time (a schedule) or custom (a query whose answer becomes true).';
COMMENT ON COLUMN automate.trigger.on_table IS 'data: the table, view or foreign table whose changes it sees.';
COMMENT ON COLUMN automate.trigger.operations IS 'data: insert, update, delete, truncate.';
COMMENT ON COLUMN automate.trigger.columns IS 'data: an update counts only if one of these columns really changed; empty: any change.';
COMMENT ON COLUMN automate.trigger.event IS 'event: name of the event it hears, or a pattern in which * stands for any characters. Others: name of the event that it records.';
COMMENT ON COLUMN automate.trigger.event_like IS 'The pattern for LIKE, if event is one.';
COMMENT ON COLUMN automate.trigger.schedule IS 'time: when, as for tasks.';
COMMENT ON COLUMN automate.trigger.source IS 'custom: the query that it asks.';
COMMENT ON COLUMN automate.trigger.condition IS 'SQL over new and old, over event, or, for custom, over value; empty: always, or the answer itself.';
COMMENT ON COLUMN automate.trigger.conditions IS 'The condition as JsonLogic.';
COMMENT ON COLUMN automate.trigger.condition_sql IS 'The SQL that conditions means.';
COMMENT ON COLUMN automate.trigger.options IS 'What else was asked, by type: see automate.create_trigger.';
COMMENT ON COLUMN automate.trigger.search_path IS 'search_path under which it was written.';
COMMENT ON COLUMN automate.trigger.version IS 'Counts its changes.';
COMMENT ON COLUMN automate.trigger.next_at IS 'time and custom: when it looks next, by the clock or after a change of its tables.';
COMMENT ON COLUMN automate.trigger.state IS 'custom: what it remembers from one look to the next: value (the last answer), is_on (it has fired and was not clear since), since (when the condition began to hold), fired_at, looked_at, failures (looks that failed since).';
COMMENT ON COLUMN automate.trigger.errors IS 'Transactions in which it failed.';
COMMENT ON COLUMN automate.trigger.last_error IS 'The last such error, or why it is broken.';
COMMENT ON COLUMN automate.trigger.last_error_at IS 'When that was noted.';
COMMENT ON COLUMN automate.trigger.created_by IS 'Session user that created it.';
COMMENT ON COLUMN automate.trigger.created_at IS 'When it was created.';
COMMENT ON COLUMN automate.trigger.updated_at IS 'When it was last changed.';

ALTER TABLE automate.trigger ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.trigger FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.trigger IS 'A role sees what it owns, and what roles own whose privileges it has.';
