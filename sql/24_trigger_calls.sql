-- The calls that make, change, switch and try triggers.

CREATE FUNCTION automate.create_trigger(
    name         text,
    trigger_type text,
    conditions   jsonb DEFAULT NULL,
    condition    text DEFAULT NULL,
    on_table     regclass DEFAULT NULL,
    operations   text[] DEFAULT NULL,
    columns      text[] DEFAULT NULL,
    event        text DEFAULT NULL,
    schedule     text DEFAULT NULL,
    source       text DEFAULT NULL,
    options      jsonb DEFAULT '{}',
    description  text DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_create_trigger';
COMMENT ON FUNCTION automate.create_trigger(text, text, jsonb, text, regclass, text[], text[], text, text, text, jsonb, text) IS
'Makes a trigger: when something happens. It records its event (event is its name, by default the trigger''s), and tells it to the rules, tasks and workflows that are subscribed with on_trigger. trigger_type data: changes of on_table (operations: insert, update, delete, truncate; columns: an update counts only if one of them really changed) that condition, SQL over new and old, lets pass; options {"level": "row" or "statement", "when": "matches", "enters" or "leaves" (the row begins or ceases to match), "payload": "full", "changed" or "key", "fire_on_replica": true}. event: events of a name or pattern (event, by default * for all) that condition, SQL over event, lets pass; it records none of its own; options {"from": source, which may be a pattern}. time: schedule, as for automate.schedule_task, or conditions with the same as JSON; options {"time_zone": ..., "misfire": "once" or "skip"}. custom: a query, source (or the call of a function), whose answer is true or meets condition, SQL over value, as when it becomes so; options {"every": interval between two looks, "tables": tables after whose changes it looks, "for": how long the condition must hold, "clear": SQL over value that must be true before it fires again (by default: that the condition is false), "cool_down": shortest time between two firings}. conditions is condition as JsonLogic. Everything is looked at with the rights of the trigger''s owner, whoever causes it.';

CREATE FUNCTION automate.alter_trigger(
    name        text,
    conditions  jsonb DEFAULT NULL,
    condition   text DEFAULT NULL,
    on_table    regclass DEFAULT NULL,
    operations  text[] DEFAULT NULL,
    columns     text[] DEFAULT NULL,
    event       text DEFAULT NULL,
    schedule    text DEFAULT NULL,
    source      text DEFAULT NULL,
    options     jsonb DEFAULT NULL,
    description text DEFAULT NULL)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_alter_trigger';
COMMENT ON FUNCTION automate.alter_trigger(text, jsonb, text, regclass, text[], text[], text, text, text, jsonb, text) IS
'Changes what is given of a trigger and leaves the rest; returns its version. options replaces all options; columns => ''{}'' and condition => ''true'' take away what was asked. All of it is checked anew, with the rights of its owner and under the caller''s search_path; a broken trigger that is good now works again. The subscribers stay.';

CREATE FUNCTION automate.drop_trigger(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_drop_trigger';
COMMENT ON FUNCTION automate.drop_trigger(text) IS
'Removes a trigger; refused while rules, tasks or workflows are subscribed to it. The events that it recorded stay.';

CREATE FUNCTION automate.enable_trigger(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_enable_trigger';
COMMENT ON FUNCTION automate.enable_trigger(text) IS
'Puts a disabled or broken trigger back to work, after it has been checked again. What it missed does not fire.';

CREATE FUNCTION automate.disable_trigger(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_disable_trigger';
COMMENT ON FUNCTION automate.disable_trigger(text) IS
'Lets a trigger rest until automate.enable_trigger. What it fired before is still done.';

CREATE FUNCTION automate.evaluate_triggers_json(event text, payload jsonb) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_evaluate_triggers';
COMMENT ON FUNCTION automate.evaluate_triggers_json(text, jsonb) IS
'Which triggers would fire, as a JSON array; automate.evaluate_triggers shows it.';

CREATE FUNCTION automate.evaluate_triggers(event text, payload jsonb DEFAULT '{}')
RETURNS TABLE (trigger text, trigger_type text, fires boolean, reason text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.trigger, t.trigger_type, t.fires, t.reason
    FROM jsonb_to_recordset(automate.evaluate_triggers_json($1, $2))
         AS t(trigger text, trigger_type text, fires boolean, reason text)
$$;
COMMENT ON FUNCTION automate.evaluate_triggers(text, jsonb) IS
'Which triggers of the caller, and of roles whose privileges it has, an event concerns that the caller would emit: whether each fires, and why or why not. Nothing is recorded and nobody is told. An event that stands for a change of a table, by a name such as public.orders.insert or by op, schema and table in its payload, also concerns the triggers on that table; new and old in the payload are the rows. Conditions are evaluated with the rights of the triggers'' owners, read only.';

CREATE FUNCTION automate.test_trigger_json(name text, new jsonb, old jsonb, payload jsonb) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_test_trigger';
COMMENT ON FUNCTION automate.test_trigger_json(text, jsonb, jsonb, jsonb) IS
'What would come of a trigger, as a JSON object; automate.test_trigger shows it.';

CREATE FUNCTION automate.test_trigger(
    name    text,
    new     jsonb DEFAULT NULL,
    old     jsonb DEFAULT NULL,
    payload jsonb DEFAULT NULL)
RETURNS TABLE (fires boolean, reason text, event text, payload jsonb, subscribers jsonb)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.fires, t.reason, t.event, t.payload, t.subscribers
    FROM jsonb_to_record(automate.test_trigger_json($1, $2, $3, $4))
         AS t(fires boolean, reason text, event text, payload jsonb, subscribers jsonb)
$$;
COMMENT ON FUNCTION automate.test_trigger(text, jsonb, jsonb, jsonb) IS
'Tries a trigger and does nothing: whether it would fire and why or why not, the event that would be recorded with its payload, and the subscribers with what they would do (told: whether they would hear it). new and old are rows for a trigger on a table, such as to_jsonb(a_row): new alone is an insert, old alone a delete, both are an update. payload is for a trigger on events.';
