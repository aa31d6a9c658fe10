-- Notifications: where they go (channels), what they say (templates), what became of them.

CREATE TABLE automate.channel (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    description  text,
    owner        regrole NOT NULL,
    kind         text NOT NULL,
    status       text NOT NULL DEFAULT 'active',
    config       jsonb NOT NULL DEFAULT '{}',
    secret_names text[] NOT NULL DEFAULT '{}',
    version      integer NOT NULL DEFAULT 1,
    created_by   text NOT NULL DEFAULT session_user,
    created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT channel_name UNIQUE (owner, name),
    CONSTRAINT channel_name_form CHECK (name OPERATOR(pg_catalog.<>) '' AND pg_catalog.strpos(name, ':') OPERATOR(pg_catalog.=) 0),
    CONSTRAINT channel_kind CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY['smtp', 'webhook', 'log'])),
    CONSTRAINT channel_status CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['active', 'disabled'])),
    CONSTRAINT channel_config CHECK (pg_catalog.jsonb_typeof(config) OPERATOR(pg_catalog.=) 'object')
);
SELECT pg_catalog.pg_extension_config_dump('automate.channel', '');
COMMENT ON TABLE automate.channel IS 'Ways by which notifications leave: mail servers, webhooks, the log. Secrets are kept apart.';
COMMENT ON COLUMN automate.channel.id IS 'uuid v7.';
COMMENT ON COLUMN automate.channel.name IS 'Unique among the owner''s channels; without a colon, since a recipient is channel:address.';
COMMENT ON COLUMN automate.channel.description IS 'For people.';
COMMENT ON COLUMN automate.channel.owner IS 'Role that may use it; so may roles that have its privileges.';
COMMENT ON COLUMN automate.channel.kind IS 'smtp, webhook or log.';
COMMENT ON COLUMN automate.channel.status IS 'active, or disabled: nothing can be sent through it.';
COMMENT ON COLUMN automate.channel.config IS 'By kind. smtp: host, port, tls (starttls, implicit, none), user, from, connections. webhook: url, headers. log: server_log.';
COMMENT ON COLUMN automate.channel.secret_names IS 'Which secrets it has; their values are in automate.channel_secret, encrypted.';
COMMENT ON COLUMN automate.channel.version IS 'Counts the changes.';
COMMENT ON COLUMN automate.channel.created_by IS 'Session user who made it.';
COMMENT ON COLUMN automate.channel.created_at IS 'When it was made.';
COMMENT ON COLUMN automate.channel.updated_at IS 'When it was last changed.';

-- Not dumped, and readable by nobody: a copy of the database comes without secrets.
CREATE TABLE automate.channel_secret (
    channel uuid PRIMARY KEY REFERENCES automate.channel ON DELETE CASCADE,
    sealed  bytea NOT NULL
);
COMMENT ON TABLE automate.channel_secret IS 'Secrets of channels, encrypted with a key that is in a file beside the database (pg_automate/key in the data directory). Not part of a dump.';
COMMENT ON COLUMN automate.channel_secret.channel IS 'The channel.';
COMMENT ON COLUMN automate.channel_secret.sealed IS 'AES-256-GCM over the JSON of the secrets, bound to the channel''s id.';

CREATE TABLE automate.template (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    description text,
    owner       regrole NOT NULL,
    version     integer NOT NULL,
    status      text NOT NULL DEFAULT 'active',
    subject     text NOT NULL,
    body        text NOT NULL,
    html        text,
    created_by  text NOT NULL DEFAULT session_user,
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT template_name UNIQUE (owner, name, version),
    CONSTRAINT template_status CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['active', 'disabled'])),
    CONSTRAINT template_version CHECK (version OPERATOR(pg_catalog.>) 0),
    CONSTRAINT template_name_form CHECK (name OPERATOR(pg_catalog.<>) '')
);
SELECT pg_catalog.pg_extension_config_dump('automate.template', '');
COMMENT ON TABLE automate.template IS 'What notifications say, a row a version; versions never change, the newest is used.';
COMMENT ON COLUMN automate.template.id IS 'uuid v7 of this version.';
COMMENT ON COLUMN automate.template.name IS 'The same for all versions.';
COMMENT ON COLUMN automate.template.description IS 'For people.';
COMMENT ON COLUMN automate.template.owner IS 'Role that may use it; so may roles that have its privileges.';
COMMENT ON COLUMN automate.template.version IS 'From 1.';
COMMENT ON COLUMN automate.template.status IS 'active or disabled.';
COMMENT ON COLUMN automate.template.subject IS 'Subject line, in minijinja: Order {{ id }} is late.';
COMMENT ON COLUMN automate.template.body IS 'Plain text.';
COMMENT ON COLUMN automate.template.html IS 'HTML for mail; values are escaped.';
COMMENT ON COLUMN automate.template.created_by IS 'Session user who made it.';
COMMENT ON COLUMN automate.template.created_at IS 'When it was made.';
COMMENT ON COLUMN automate.template.updated_at IS 'When it was last changed.';

CREATE TABLE automate.notification (
    id         uuid PRIMARY KEY,
    owner      regrole NOT NULL,
    template   text NOT NULL,
    version    integer NOT NULL,
    data       jsonb NOT NULL,
    subject    text NOT NULL,
    body       text NOT NULL,
    html       text,
    size       bigint NOT NULL,
    source     text,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX notification_created ON automate.notification (created_at);
COMMENT ON TABLE automate.notification IS 'Messages, rendered when automate.notify was called.';
COMMENT ON COLUMN automate.notification.id IS 'uuid v7, what automate.notify returned.';
COMMENT ON COLUMN automate.notification.owner IS 'Role that sent it.';
COMMENT ON COLUMN automate.notification.template IS 'Name of the template.';
COMMENT ON COLUMN automate.notification.version IS 'Its version then; 0 of a text that comes with pg_automate.';
COMMENT ON COLUMN automate.notification.data IS 'What filled the template.';
COMMENT ON COLUMN automate.notification.subject IS 'As sent.';
COMMENT ON COLUMN automate.notification.body IS 'As sent.';
COMMENT ON COLUMN automate.notification.html IS 'As sent.';
COMMENT ON COLUMN automate.notification.size IS 'Bytes of the message with its attachments.';
COMMENT ON COLUMN automate.notification.source IS 'What caused it, such as rule:late.';
COMMENT ON COLUMN automate.notification.created_at IS 'When the causing transaction began.';

CREATE TABLE automate.attachment (
    notification uuid NOT NULL REFERENCES automate.notification ON DELETE CASCADE,
    number       integer NOT NULL,
    owner        regrole NOT NULL,
    name         text NOT NULL,
    mime         text NOT NULL,
    bytes        bytea NOT NULL,
    PRIMARY KEY (notification, number)
);
ALTER TABLE automate.attachment ALTER COLUMN bytes SET STORAGE EXTERNAL;
COMMENT ON TABLE automate.attachment IS 'Files that go with a notification, kept once for all its deliveries.';
COMMENT ON COLUMN automate.attachment.notification IS 'The notification.';
COMMENT ON COLUMN automate.attachment.number IS 'Order, from 1.';
COMMENT ON COLUMN automate.attachment.owner IS 'Owner of the notification.';
COMMENT ON COLUMN automate.attachment.name IS 'File name.';
COMMENT ON COLUMN automate.attachment.mime IS 'Media type, such as text/csv.';
COMMENT ON COLUMN automate.attachment.bytes IS 'Contents.';

CREATE TABLE automate.delivery (
    id           uuid PRIMARY KEY,
    notification uuid NOT NULL REFERENCES automate.notification ON DELETE CASCADE,
    owner        regrole NOT NULL,
    channel_id   uuid NOT NULL,
    template     text NOT NULL,
    channel      text NOT NULL,
    recipient    text NOT NULL,
    state        text NOT NULL DEFAULT 'queued',
    attempts     integer NOT NULL DEFAULT 0,
    latency_ms   integer,
    created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
    sent_at      timestamptz,
    last_error   text,
    response     text,
    CONSTRAINT delivery_state CHECK (
        (state OPERATOR(pg_catalog.=) 'queued' AND sent_at IS NULL)
        OR (state OPERATOR(pg_catalog.=) ANY (ARRAY['retrying', 'failed']) AND sent_at IS NULL AND last_error IS NOT NULL)
        OR (state OPERATOR(pg_catalog.=) 'sent' AND sent_at IS NOT NULL AND last_error IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX delivery_notification ON automate.delivery (notification);
CREATE INDEX delivery_open ON automate.delivery (state, channel) WHERE state OPERATOR(pg_catalog.<>) 'sent';
COMMENT ON TABLE automate.delivery IS 'One row for each recipient of a notification: what became of it. Its id is the job''s, and goes out as Message-ID, webhook-id and Idempotency-Key, the same on every attempt.';
COMMENT ON COLUMN automate.delivery.id IS 'Id of the delivery and of its job.';
COMMENT ON COLUMN automate.delivery.notification IS 'The message.';
COMMENT ON COLUMN automate.delivery.owner IS 'Role that sent it.';
COMMENT ON COLUMN automate.delivery.channel_id IS 'The channel.';
COMMENT ON COLUMN automate.delivery.template IS 'Name of the template.';
COMMENT ON COLUMN automate.delivery.channel IS 'Name of the channel then.';
COMMENT ON COLUMN automate.delivery.recipient IS 'Address, by the channel''s kind.';
COMMENT ON COLUMN automate.delivery.state IS 'queued (not tried yet), retrying (tried, will be tried again), sent, or failed (given up; automate.retry_job(id) tries again).';
COMMENT ON COLUMN automate.delivery.attempts IS 'Attempts made.';
COMMENT ON COLUMN automate.delivery.latency_ms IS 'How long the last attempt took.';
COMMENT ON COLUMN automate.delivery.created_at IS 'When the causing transaction began.';
COMMENT ON COLUMN automate.delivery.sent_at IS 'When the peer took it.';
COMMENT ON COLUMN automate.delivery.last_error IS 'Why the last attempt failed.';
COMMENT ON COLUMN automate.delivery.response IS 'Code and beginning of the peer''s last answer.';

ALTER TABLE automate.channel ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.channel_secret ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.template ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.notification ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.attachment ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.delivery ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.channel FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.channel IS 'A role sees what it owns, and what roles own whose privileges it has.';
CREATE POLICY own ON automate.template FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.template IS 'A role sees what it owns, and what roles own whose privileges it has.';
CREATE POLICY own ON automate.notification FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.notification IS 'A role sees what it owns, and what roles own whose privileges it has.';
CREATE POLICY own ON automate.attachment FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.attachment IS 'A role sees what it owns, and what roles own whose privileges it has.';
CREATE POLICY own ON automate.delivery FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.delivery IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE FUNCTION automate.create_channel(
    name        text,
    kind        text,
    config      jsonb DEFAULT '{}',
    secrets     jsonb DEFAULT '{}',
    description text DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_create_channel';
COMMENT ON FUNCTION automate.create_channel(text, text, jsonb, jsonb, text) IS
'Makes a way for notifications. smtp: {"host", "port", "tls": "starttls" (usual), "implicit" or "none", "user", "from", "connections"}, secret {"password"}. webhook: {"url", "headers"}, secret {"signing": "whsec_..."} (Standard Webhooks) and {"headers": {...}} for headers that are secret. log: {"server_log": false}, delivered at once without network. Hosts must be allowed by automate.network_allow. Secrets are encrypted with a key outside of the database.';

CREATE FUNCTION automate.alter_channel(
    name        text,
    config      jsonb DEFAULT NULL,
    secrets     jsonb DEFAULT NULL,
    description text DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_alter_channel';
COMMENT ON FUNCTION automate.alter_channel(text, jsonb, jsonb, text) IS
'Replaces the config, the secrets or the description of a channel; what is NULL stays. A restored copy of a database has no secrets: give them again with this.';

CREATE FUNCTION automate.drop_channel(name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_drop_channel';
COMMENT ON FUNCTION automate.drop_channel(text) IS
'Removes a channel with its secrets. Deliveries that were not sent yet fail.';

CREATE FUNCTION automate.enable_channel(name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_enable_channel';
COMMENT ON FUNCTION automate.enable_channel(text) IS 'Lets a disabled channel send again.';

CREATE FUNCTION automate.disable_channel(name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_disable_channel';
COMMENT ON FUNCTION automate.disable_channel(text) IS
'Stops a channel: automate.notify refuses it, and what is queued is tried again later.';

CREATE FUNCTION automate.create_template(
    name        text,
    subject     text,
    body        text,
    html        text DEFAULT NULL,
    description text DEFAULT NULL)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_create_template';
COMMENT ON FUNCTION automate.create_template(text, text, text, text, text) IS
'Makes a message template (minijinja: {{ order.id }}, {% for x in list %}) and returns its version; the same name again makes the next version. A variable that is not in the data is an error when it is used.';

CREATE FUNCTION automate.drop_template(name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_drop_template';
COMMENT ON FUNCTION automate.drop_template(text) IS
'Removes a template with all its versions. Notifications that are under way keep their text.';

CREATE FUNCTION automate.preview_template(name text, data jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_preview_template';
COMMENT ON FUNCTION automate.preview_template(text, jsonb) IS
'What a template makes of the data: {"template", "version", "subject", "body", "html"}. Nothing is sent.';

CREATE FUNCTION automate.notify(
    template   text,
    recipients text[],
    data       jsonb DEFAULT '{}',
    priority   integer DEFAULT 100)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_notify';
COMMENT ON FUNCTION automate.notify(text, text[], jsonb, integer) IS
'Sends a message to recipients, each channel:address; it leaves after the transaction commits, at least once each, and not at all if it rolls back. Returns the notification; automate.delivery shows what became of it.';
