-- Events: what was told to the database, and who hears it.

CREATE TABLE automate.event (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    payload    jsonb NOT NULL,
    owner      regrole NOT NULL,
    source     text,
    trigger_id uuid,
    txid       xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    trace_id   text,
    depth      integer NOT NULL,
    cause      uuid,
    order_key  text,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE automate.event IS
'What was told by automate.emit_event, by rules and by workflows. Kept for automate.history_retention; its owner can read it.';
COMMENT ON COLUMN automate.event.id IS 'uuid v7: sorts by the time it was made.';
COMMENT ON COLUMN automate.event.name IS 'What happened, such as order.paid.';
COMMENT ON COLUMN automate.event.payload IS 'What the emitter said about it.';
COMMENT ON COLUMN automate.event.owner IS 'Role that emitted it. Only rules of this role, and of roles that have its privileges, hear it.';
COMMENT ON COLUMN automate.event.source IS 'What emitted it, such as rule:late; empty: a session.';
COMMENT ON COLUMN automate.event.trigger_id IS 'Id in automate.trigger of the trigger that recorded it.';
COMMENT ON COLUMN automate.event.txid IS 'Transaction that emitted it.';
COMMENT ON COLUMN automate.event.trace_id IS 'Trace that it belongs to, 32 hexadecimal digits.';
COMMENT ON COLUMN automate.event.order_key IS 'Listeners take events of one owner with the same key in the order in which they were emitted; empty: in any order.';
COMMENT ON COLUMN automate.event.depth IS 'Rules and triggers that led to it, one causing the next; 0: none. At most 16.';
COMMENT ON COLUMN automate.event.cause IS 'Id of the rule whose action emitted it, or of the trigger or workflow that led to it.';
COMMENT ON COLUMN automate.event.created_at IS 'When the emitting transaction began.';

ALTER TABLE automate.event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.event FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.event IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE FUNCTION automate.emit_event(name text, payload jsonb DEFAULT '{}') RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_emit_event';
COMMENT ON FUNCTION automate.emit_event(text, jsonb) IS
'Says that something happened, in the caller''s transaction: rules on this event do their actions if and when it commits. Returns the event''s id.';
