-- Builders of workflows: SQL functions that return steps, and documents made of them.

CREATE FUNCTION automate.sql_step(
    name text,
    query text,
    params text[] DEFAULT NULL,
    result text DEFAULT NULL,
    expect text DEFAULT NULL,
    timeout interval DEFAULT NULL,
    retry integer DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    compensate jsonb DEFAULT NULL,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_sql_step';
COMMENT ON FUNCTION automate.sql_step(text, text, text[], text, text, interval, integer, interval, jsonb, text, text, text, text) IS
'A step that runs a statement as the workflow''s owner. params are jq, one for each of $1, $2, ...; query is text. result: rows, one, scalar or none; expect: any, one or none rows.';

CREATE FUNCTION automate.sql_step(
    name text,
    query text,
    VARIADIC params text[])
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_sql_step';
COMMENT ON FUNCTION automate.sql_step(text, text, text[]) IS
'The same with the parameters, jq, one after another.';

CREATE FUNCTION automate.http_step(
    name text,
    method text,
    url text,
    body text DEFAULT NULL,
    headers jsonb DEFAULT NULL,
    query jsonb DEFAULT NULL,
    result text DEFAULT NULL,
    authentication jsonb DEFAULT NULL,
    redirect boolean DEFAULT NULL,
    timeout interval DEFAULT NULL,
    retry integer DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    compensate jsonb DEFAULT NULL,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_http_step';
COMMENT ON FUNCTION automate.http_step(text, text, text, text, jsonb, jsonb, text, jsonb, boolean, interval, integer, interval, jsonb, text, text, text, text) IS
'A step that sends a request. body is jq; url and the members of headers and query are text, or jq in ${ }. result: content, response or raw.';

CREATE FUNCTION automate.notify_step(
    name text,
    template text,
    recipient text,
    data text DEFAULT NULL,
    timeout interval DEFAULT NULL,
    retry integer DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    compensate jsonb DEFAULT NULL,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_notify_step';
COMMENT ON FUNCTION automate.notify_step(text, text, text, text, interval, integer, interval, jsonb, text, text, text, text) IS
'A step that sends a notification. data is jq; template is text; recipient is text, channel:address, or jq in ${ } that gives one or an array of them.';

CREATE FUNCTION automate.report_step(
    name text,
    report text,
    format text DEFAULT NULL,
    params text DEFAULT NULL,
    timeout interval DEFAULT NULL,
    retry integer DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    compensate jsonb DEFAULT NULL,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_report_step';
COMMENT ON FUNCTION automate.report_step(text, text, text, text, interval, integer, interval, jsonb, text, text, text, text) IS
'A step that runs a report. params is jq that gives an object; report and format are text: html, pdf, csv, xlsx, json or text.';

CREATE FUNCTION automate.wait_step(
    name text,
    duration interval,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_wait_step';
COMMENT ON FUNCTION automate.wait_step(text, interval, text, text, text, text) IS
'A step that waits: up to ten years, in days and less, since months and years have no fixed length.';

CREATE FUNCTION automate.approval_step(
    name text,
    role text,
    subject text,
    data text DEFAULT NULL,
    quorum integer DEFAULT NULL,
    escalate_after interval DEFAULT NULL,
    escalate_to text DEFAULT NULL,
    timeout interval DEFAULT NULL,
    retry integer DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    compensate jsonb DEFAULT NULL,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_approval_step';
COMMENT ON FUNCTION automate.approval_step(text, text, text, text, integer, interval, text, interval, integer, interval, jsonb, text, text, text, text) IS
'A step that waits for members of a role to decide. data is jq; role and escalate_to are names of roles; subject is text, or jq in ${ }. quorum: how many must agree, 1 if left out.';

CREATE FUNCTION automate.listen_step(
    name text,
    event text,
    matching text DEFAULT NULL,
    timeout interval DEFAULT NULL,
    retry integer DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    compensate jsonb DEFAULT NULL,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_listen_step';
COMMENT ON FUNCTION automate.listen_step(text, text, text, interval, integer, interval, jsonb, text, text, text, text) IS
'A step that waits for an event of this type. matching is jq over the event''s data that says whether it is the one.';

CREATE FUNCTION automate.emit_step(
    name text,
    event text,
    data text DEFAULT NULL,
    source text DEFAULT NULL,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_emit_step';
COMMENT ON FUNCTION automate.emit_step(text, text, text, text, text, text, text, text) IS
'A step that emits an event. data is jq; event, the type, and source are text, or jq in ${ }.';

CREATE FUNCTION automate.set_step(
    name text,
    value text,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_set_step';
COMMENT ON FUNCTION automate.set_step(text, text, text, text, text, text) IS
'A step that computes its output. value is jq.';

CREATE FUNCTION automate.do_step(
    name text,
    steps jsonb,
    timeout interval DEFAULT NULL,
    retry integer DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    compensate jsonb DEFAULT NULL,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_do_step';
COMMENT ON FUNCTION automate.do_step(text, jsonb, interval, integer, interval, jsonb, text, text, text, text) IS
'Steps as one step, such as a branch of a fork: steps is what automate.steps returns, or one step.';

CREATE FUNCTION automate.switch_step(
    name text,
    VARIADIC cases jsonb[])
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_switch_step';
COMMENT ON FUNCTION automate.switch_step(text, jsonb[]) IS
'A step that goes on to the next of the first case that holds: automate.case_when and automate.case_else.';

CREATE FUNCTION automate.fork_step(
    name text,
    branches jsonb[],
    compete boolean DEFAULT NULL,
    timeout interval DEFAULT NULL,
    retry integer DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    compensate jsonb DEFAULT NULL,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_fork_step';
COMMENT ON FUNCTION automate.fork_step(text, jsonb[], boolean, interval, integer, interval, jsonb, text, text, text, text) IS
'A step whose branches, steps all, go on side by side; its output is the array of theirs. With compete the first to complete wins, and its output is the step''s.';

CREATE FUNCTION automate.fork_step(
    name text,
    VARIADIC branches jsonb[])
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_fork_step';
COMMENT ON FUNCTION automate.fork_step(text, jsonb[]) IS
'The same with the branches one after another.';

CREATE FUNCTION automate.for_each_step(
    name text,
    items text,
    steps jsonb,
    item text DEFAULT NULL,
    max_parallel integer DEFAULT NULL,
    on_item_error text DEFAULT NULL,
    collect text DEFAULT NULL,
    timeout interval DEFAULT NULL,
    retry integer DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    compensate jsonb DEFAULT NULL,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_for_each_step';
COMMENT ON FUNCTION automate.for_each_step(text, text, jsonb, text, integer, text, text, interval, integer, interval, jsonb, text, text, text, text) IS
'A step that does steps for each item. items is jq that gives an array; within steps it is $item, or as item names it, and $index. max_parallel: turns at the same time; with it on_item_error, fail or continue, and collect, jq over the output of a turn, which makes the step''s output an array.';

CREATE FUNCTION automate.try_step(
    name text,
    steps jsonb,
    catch_steps jsonb DEFAULT NULL,
    error_type text DEFAULT NULL,
    error_status integer DEFAULT NULL,
    retry integer DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    timeout interval DEFAULT NULL,
    compensate jsonb DEFAULT NULL,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_try_step';
COMMENT ON FUNCTION automate.try_step(text, jsonb, jsonb, text, integer, integer, interval, interval, jsonb, text, text, text, text) IS
'A step whose errors are caught: of error_type, such as timeout or a whole URI, and error_status if given. retry counts attempts after the first, retry_delay is the first pause and doubles; catch_steps come when they are spent, and see the error as $error.';

CREATE FUNCTION automate.raise_step(
    name text,
    type text,
    status integer,
    title text DEFAULT NULL,
    detail text DEFAULT NULL,
    condition text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_raise_step';
COMMENT ON FUNCTION automate.raise_step(text, text, integer, text, text, text) IS
'A step that raises an error. type is a URI, or the word of a standard one, such as validation; title and detail are text, or jq in ${ }.';

CREATE FUNCTION automate.run_workflow_step(
    name text,
    workflow text,
    data text DEFAULT NULL,
    version text DEFAULT NULL,
    wait boolean DEFAULT NULL,
    timeout interval DEFAULT NULL,
    retry integer DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    compensate jsonb DEFAULT NULL,
    output text DEFAULT NULL,
    export text DEFAULT NULL,
    condition text DEFAULT NULL,
    next text DEFAULT NULL)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_run_workflow_step';
COMMENT ON FUNCTION automate.run_workflow_step(text, text, text, text, boolean, interval, integer, interval, jsonb, text, text, text, text) IS
'A step that runs another workflow. data is jq, the input of the other; workflow and version are text. The step ends with the other and has its output, unless wait is false.';

CREATE FUNCTION automate.case_when(condition text, next text)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_case_when';
COMMENT ON FUNCTION automate.case_when(text, text) IS
'A case of automate.switch_step: condition is jq; next is the name of a step of the same list, or continue, exit (leave the list) or end.';

CREATE FUNCTION automate.case_else(next text)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_case_else';
COMMENT ON FUNCTION automate.case_else(text) IS
'The last case of automate.switch_step, for whatever no other case holds.';

CREATE FUNCTION automate.compensate(step jsonb, steps jsonb)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_compensate';
COMMENT ON FUNCTION automate.compensate(jsonb, jsonb) IS
'The step with the steps that undo it: they run, the last completed step first, when the workflow fails later on. In them . is the step''s own output.';

CREATE FUNCTION automate.steps(VARIADIC steps jsonb[])
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_steps';
COMMENT ON FUNCTION automate.steps(jsonb[]) IS
'Steps one after another: the definition for automate.create_workflow, or the steps within another step.';
