-- What comes in by webhooks, and what events must be like.

CREATE TABLE automate.webhook_source (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    description text,
    owner       regrole NOT NULL,
    status      text NOT NULL DEFAULT 'active',
    event       text NOT NULL,
    event_from  text,
    tolerance   interval NOT NULL,
    version     integer NOT NULL DEFAULT 1,
    created_by  text NOT NULL DEFAULT session_user,
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT webhook_source_name UNIQUE (owner, name),
    CONSTRAINT webhook_source_status CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['active', 'disabled']))
);
SELECT pg_catalog.pg_extension_config_dump('automate.webhook_source', '');
COMMENT ON TABLE automate.webhook_source IS 'Who sends webhooks to this database, and which events they become. Keys are kept apart.';
COMMENT ON COLUMN automate.webhook_source.id IS 'uuid v7.';
COMMENT ON COLUMN automate.webhook_source.name IS 'Unique among the owner''s sources.';
COMMENT ON COLUMN automate.webhook_source.description IS 'For people.';
COMMENT ON COLUMN automate.webhook_source.owner IS 'Role whose events they become.';
COMMENT ON COLUMN automate.webhook_source.status IS 'active, or disabled: nothing comes in.';
COMMENT ON COLUMN automate.webhook_source.event IS 'Name of the event; with event_from it has one *, in whose place the name in the body goes.';
COMMENT ON COLUMN automate.webhook_source.event_from IS 'Key of the body whose text names the event; empty: event is the whole name.';
COMMENT ON COLUMN automate.webhook_source.tolerance IS 'How old a message may be, or how far ahead of our clock.';
COMMENT ON COLUMN automate.webhook_source.version IS 'Counts the changes.';
COMMENT ON COLUMN automate.webhook_source.created_by IS 'Session user who made it.';
COMMENT ON COLUMN automate.webhook_source.created_at IS 'When it was made.';
COMMENT ON COLUMN automate.webhook_source.updated_at IS 'When it was last changed.';

-- Not dumped, and readable by nobody, as the secrets of channels.
CREATE TABLE automate.webhook_secret (
    source uuid PRIMARY KEY REFERENCES automate.webhook_source ON DELETE CASCADE,
    sealed bytea NOT NULL
);
COMMENT ON TABLE automate.webhook_secret IS 'Keys by which webhooks are checked, encrypted with a key that is in a file beside the database (pg_automate/key in the data directory). Not part of a dump.';
COMMENT ON COLUMN automate.webhook_secret.source IS 'The webhook source.';
COMMENT ON COLUMN automate.webhook_secret.sealed IS 'AES-256-GCM over the JSON of the keys, bound to the source''s id.';

CREATE TABLE automate.webhook_grant (
    source     uuid NOT NULL REFERENCES automate.webhook_source ON DELETE CASCADE,
    role       regrole NOT NULL,
    owner      regrole NOT NULL,
    granted_by text NOT NULL DEFAULT session_user,
    granted_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (source, role)
);
SELECT pg_catalog.pg_extension_config_dump('automate.webhook_grant', '');
COMMENT ON TABLE automate.webhook_grant IS 'Roles that may hand in what came for a webhook source, beside its owner.';
COMMENT ON COLUMN automate.webhook_grant.source IS 'The webhook source.';
COMMENT ON COLUMN automate.webhook_grant.role IS 'The role that may, and those that have its privileges.';
COMMENT ON COLUMN automate.webhook_grant.owner IS 'Owner of the source.';
COMMENT ON COLUMN automate.webhook_grant.granted_by IS 'Session user who said so.';
COMMENT ON COLUMN automate.webhook_grant.granted_at IS 'When that was.';

CREATE TABLE automate.webhook_receipt (
    source      uuid NOT NULL REFERENCES automate.webhook_source ON DELETE CASCADE,
    webhook_id  text NOT NULL,
    owner       regrole NOT NULL,
    event       uuid,
    received_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (source, webhook_id)
);
COMMENT ON TABLE automate.webhook_receipt IS 'What came by webhooks, so that nothing becomes an event twice. Kept for automate.event_retention, and for twice the tolerance of the source at least.';
COMMENT ON COLUMN automate.webhook_receipt.source IS 'The webhook source.';
COMMENT ON COLUMN automate.webhook_receipt.webhook_id IS 'The sender''s name for the message, the same when it is sent again.';
COMMENT ON COLUMN automate.webhook_receipt.owner IS 'Owner of the source.';
COMMENT ON COLUMN automate.webhook_receipt.event IS 'Event that it became, in automate.event.';
COMMENT ON COLUMN automate.webhook_receipt.received_at IS 'When it came for the first time.';

CREATE TABLE automate.event_schema (
    id          uuid PRIMARY KEY,
    event       text NOT NULL,
    event_like  text GENERATED ALWAYS AS (CASE WHEN pg_catalog.strpos(event, '*') OPERATOR(pg_catalog.>) 0 THEN
        pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(
            event, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%') END) STORED,
    owner       regrole NOT NULL,
    schema      jsonb NOT NULL,
    description text,
    version     integer NOT NULL DEFAULT 1,
    created_by  text NOT NULL DEFAULT session_user,
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT event_schema_event UNIQUE (owner, event)
);
SELECT pg_catalog.pg_extension_config_dump('automate.event_schema', '');
COMMENT ON TABLE automate.event_schema IS 'What the payloads of events must be like; looked at wherever the owner emits one, except for what triggers record.';
COMMENT ON COLUMN automate.event_schema.id IS 'uuid v7 of this version.';
COMMENT ON COLUMN automate.event_schema.event IS 'Name of the event, or a pattern in which * stands for any characters. An event must fit every schema whose event it is.';
COMMENT ON COLUMN automate.event_schema.event_like IS 'The pattern for LIKE, if event is one.';
COMMENT ON COLUMN automate.event_schema.owner IS 'Role whose events must fit.';
COMMENT ON COLUMN automate.event_schema.schema IS 'JSON Schema, of drafts 4 to 2020-12 (usual).';
COMMENT ON COLUMN automate.event_schema.description IS 'For people.';
COMMENT ON COLUMN automate.event_schema.version IS 'Counts the changes.';
COMMENT ON COLUMN automate.event_schema.created_by IS 'Session user who made it.';
COMMENT ON COLUMN automate.event_schema.created_at IS 'When it was made.';
COMMENT ON COLUMN automate.event_schema.updated_at IS 'When it was last changed.';

ALTER TABLE automate.webhook_source ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.webhook_secret ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.webhook_grant ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.webhook_receipt ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.event_schema ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.webhook_source FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.webhook_source IS 'A role sees what it owns, and what roles own whose privileges it has.';
CREATE POLICY own ON automate.webhook_grant FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE') OR pg_catalog.pg_has_role(role, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.webhook_grant IS 'A role sees what it granted, and what was granted to it.';
CREATE POLICY own ON automate.webhook_receipt FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.webhook_receipt IS 'A role sees what it owns, and what roles own whose privileges it has.';
CREATE POLICY own ON automate.event_schema FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.event_schema IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE FUNCTION automate.create_webhook_source(
    name        text,
    secrets     text[],
    event       text,
    options     jsonb DEFAULT '{}',
    description text DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_create_webhook_source';
COMMENT ON FUNCTION automate.create_webhook_source(text, text[], text, jsonb, text) IS
'Lets a sender of signed webhooks (Standard Webhooks) tell this database something: what automate.receive_webhook takes in becomes an event of the caller. secrets: the sender''s key, whsec_... or whpk_... (several while one is replaced); they are encrypted with a key outside of the database. options: {"tolerance": "5 min"}, how old a message may be; {"event_from": "type"}, the key of the body whose text goes in the place of the * in event.';

CREATE FUNCTION automate.alter_webhook_source(
    name        text,
    secrets     text[] DEFAULT NULL,
    event       text DEFAULT NULL,
    options     jsonb DEFAULT NULL,
    description text DEFAULT NULL)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_alter_webhook_source';
COMMENT ON FUNCTION automate.alter_webhook_source(text, text[], text, jsonb, text) IS
'Replaces the keys, the event, the options or the description of a webhook source; what is NULL stays. Returns the version. A restored copy of a database has no keys: give them again with this.';

CREATE FUNCTION automate.drop_webhook_source(name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_drop_webhook_source';
COMMENT ON FUNCTION automate.drop_webhook_source(text) IS 'Removes a webhook source with its keys, its grants and the memory of what came; its events stay.';

CREATE FUNCTION automate.enable_webhook_source(name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_enable_webhook_source';
COMMENT ON FUNCTION automate.enable_webhook_source(text) IS 'Lets webhooks of a disabled source come in again.';

CREATE FUNCTION automate.disable_webhook_source(name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_disable_webhook_source';
COMMENT ON FUNCTION automate.disable_webhook_source(text) IS 'Refuses what comes for a source; senders try again later.';

CREATE FUNCTION automate.grant_webhook_source(name text, role regrole) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_grant_webhook_source';
COMMENT ON FUNCTION automate.grant_webhook_source(text, regrole) IS
'Lets a role, such as that of a web gateway, hand in what came for a source with automate.receive_webhook; it can neither read nor change the keys. The role needs level gateway (automate.grant_usage).';

CREATE FUNCTION automate.revoke_webhook_source(name text, role regrole) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_revoke_webhook_source';
COMMENT ON FUNCTION automate.revoke_webhook_source(text, regrole) IS 'Takes back what automate.grant_webhook_source gave.';

CREATE FUNCTION automate.receive_webhook(source text, headers jsonb, body text) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_receive_webhook';
COMMENT ON FUNCTION automate.receive_webhook(text, jsonb, text) IS
'Takes in a webhook, in the caller''s transaction: its signature and age are checked, and its body becomes an event of the source''s owner, once for each webhook-id. Returns the event''s id, the same for a message that comes again. source is a name or an id; headers is an object of all headers; body is the text as it came. Errors: 42704 no such source, 55000 source disabled or without keys, 08P01 headers missing or malformed, 22008 too old, 28P01 wrong signature, 22032 body not JSON, 54000 too large, 23514 does not fit the event''s schema.';

CREATE FUNCTION automate.set_event_schema(event text, schema jsonb, description text DEFAULT NULL) RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_set_event_schema';
COMMENT ON FUNCTION automate.set_event_schema(text, jsonb, text) IS
'Says by a JSON Schema what the payloads of the caller''s events of a name, or of a pattern of names, must be like; the next call replaces it. An event that does not fit is refused with every problem (SQLSTATE 23514), whoever emits it for the role: a session, a rule, a workflow, a webhook. References stay within the schema, formats are checked, patterns take linear time. Returns the version.';

CREATE FUNCTION automate.drop_event_schema(event text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_drop_event_schema';
COMMENT ON FUNCTION automate.drop_event_schema(text) IS 'Removes a schema: the payloads of these events may be anything again.';

CREATE FUNCTION automate.replay_events(
    name          text,
    into_rule     text DEFAULT NULL,
    into_workflow text DEFAULT NULL,
    since         timestamptz DEFAULT NULL,
    until         timestamptz DEFAULT NULL,
    ids           uuid[] DEFAULT NULL,
    where_sql     text DEFAULT NULL,
    max_events    integer DEFAULT 10000,
    dry_run       boolean DEFAULT false,
    once          boolean DEFAULT false)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_replay_events';
COMMENT ON FUNCTION automate.replay_events(text, text, text, timestamptz, timestamptz, uuid[], text, integer, boolean, boolean) IS
'Gives events that are kept once more, in their order, to one rule on events or triggers, or to one workflow (input {"event": ...}), in the caller''s transaction; they carry "replayed": true. name may be a pattern (*); since is included, until is not; where_sql is an expression over event, run with the caller''s rights. Only events that the caller can see and whose owner''s privileges the owner of the rule or workflow has. More than max_events are refused. dry_run counts them only. once: a workflow gets no event that it got with once before. Returns how many.';
