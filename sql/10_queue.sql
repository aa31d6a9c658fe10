-- The queue: what is to be done, and what has been done.

-- No CHECK here: PostgreSQL compiles a table's CHECKs anew for each statement, which doubled the
-- cost of putting in one job (42 to 74 us). Only functions write it; the history has its CHECKs.
CREATE TABLE automate.job (
    id              uuid PRIMARY KEY,
    kind            text NOT NULL,
    status          text NOT NULL,
    owner           regrole NOT NULL,
    priority        integer NOT NULL DEFAULT 100,
    run_at          timestamptz NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    max_attempts    integer NOT NULL DEFAULT 1,
    lane            pg_catalog."char" NOT NULL,
    top_level       boolean NOT NULL DEFAULT false,
    crashes         integer NOT NULL DEFAULT 0,
    timeout_ms      integer,
    backoff_ms      bigint,
    dedupe_key      text,
    concurrency_key text,
    lease           bigint,
    source          text,
    search_path     text,
    enqueued_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
    last_error      text,
    payload         json NOT NULL,
    order_key       text,
    order_seq       bigint
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX job_ready ON automate.job (lane, owner, priority, id) WHERE status OPERATOR(pg_catalog.=) 'ready';
CREATE INDEX job_scheduled ON automate.job (run_at) WHERE status OPERATOR(pg_catalog.=) 'scheduled';
CREATE INDEX job_running ON automate.job (lease) WHERE status OPERATOR(pg_catalog.=) 'running';
CREATE INDEX job_order ON automate.job (owner, order_key, order_seq) WHERE order_key IS NOT NULL;
CREATE INDEX job_held ON automate.job (owner, concurrency_key)
    WHERE concurrency_key IS NOT NULL
      AND (status OPERATOR(pg_catalog.=) 'waiting' OR (lane OPERATOR(pg_catalog.=) 'n' AND status OPERATOR(pg_catalog.=) 'running'));
CREATE UNIQUE INDEX job_dedupe ON automate.job (owner, dedupe_key) WHERE dedupe_key IS NOT NULL;

COMMENT ON TABLE automate.job IS
'What is still to be done: small and hot. Finished work moves to automate.job_history. Its owner can read it; only functions write it.';
COMMENT ON COLUMN automate.job.id IS 'uuid v7: sorts by the time it was made.';
COMMENT ON COLUMN automate.job.kind IS 'sql (a background statement), task, alert (tells how a task fares), rule, trigger (its condition on an event, or what a subscriber does), run (a run of a workflow, a step of one, or what it is told), hear (brings events to steps that listen), approval (escalates or withdraws one), report, http, delivery.';
COMMENT ON COLUMN automate.job.status IS 'ready, scheduled (run_at is still to come), held (a run that waits for other tasks), waiting (what a task has started goes on) or running (network and top-level work under a lease; other work being done now is seen in automate.activity).';
COMMENT ON COLUMN automate.job.owner IS 'Role in whose session it runs.';
COMMENT ON COLUMN automate.job.priority IS 'Smaller runs first; 100 is usual.';
COMMENT ON COLUMN automate.job.run_at IS 'Not before this instant.';
COMMENT ON COLUMN automate.job.attempts IS 'Attempts that have ended so far.';
COMMENT ON COLUMN automate.job.max_attempts IS 'Attempts in all before it is given up and kept as failed in automate.job_history.';
COMMENT ON COLUMN automate.job.lane IS 's: an executor of the owner does it; n: the courier does it (network).';
COMMENT ON COLUMN automate.job.top_level IS 'True for statements that refuse a transaction block, such as VACUUM.';
COMMENT ON COLUMN automate.job.crashes IS 'How often the server crashed while it ran; at 3 it is quarantined.';
COMMENT ON COLUMN automate.job.timeout_ms IS 'Longest time for an attempt, in milliseconds; empty: the role''s statement_timeout.';
COMMENT ON COLUMN automate.job.backoff_ms IS 'Milliseconds before the second attempt, each later one twice as long, at most an hour; empty: 1000.';
COMMENT ON COLUMN automate.job.dedupe_key IS 'At most one job to do with this key and owner.';
COMMENT ON COLUMN automate.job.concurrency_key IS 'Jobs of one owner with the same key never run at the same time.';
COMMENT ON COLUMN automate.job.lease IS 'Epoch of the worker that runs it; a worker that is gone frees its leases.';
COMMENT ON COLUMN automate.job.source IS 'What caused it, such as rule:late or task:rollup.';
COMMENT ON COLUMN automate.job.search_path IS 'search_path under which its text was written.';
COMMENT ON COLUMN automate.job.enqueued_at IS 'When the causing transaction began.';
COMMENT ON COLUMN automate.job.last_error IS 'Error of the last attempt.';
COMMENT ON COLUMN automate.job.payload IS 'What to do, by kind.';
COMMENT ON COLUMN automate.job.order_key IS 'Jobs of one owner with the same key are done one after the other, by order_seq: a later one waits until the earlier is done or given up.';
COMMENT ON COLUMN automate.job.order_seq IS 'Place among the jobs of its order_key.';

CREATE TABLE automate.job_history (
    id            uuid NOT NULL,
    kind          text NOT NULL,
    owner         regrole NOT NULL,
    status        text NOT NULL,
    attempts      integer NOT NULL,
    enqueued_at   timestamptz NOT NULL,
    started_at    timestamptz,
    finished_at   timestamptz NOT NULL,
    error         text,
    result        jsonb,
    source        text,
    retry         jsonb,
    CONSTRAINT job_history_status CHECK (
        (status OPERATOR(pg_catalog.=) 'succeeded' AND error IS NULL)
        OR (status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'quarantined', 'cancelled']) AND error IS NOT NULL))
) PARTITION BY RANGE (finished_at);
CREATE TABLE automate.job_history_default PARTITION OF automate.job_history DEFAULT;
CREATE INDEX job_history_id ON automate.job_history (id);
CREATE INDEX job_history_failed ON automate.job_history (owner, finished_at) WHERE status OPERATOR(pg_catalog.<>) 'succeeded';
COMMENT ON TABLE automate.job_history IS
'What has been done, a row a job, partitioned by the day it finished; automate.history_retention says for how long it is kept. Failed and quarantined jobs are the dead letters: automate.retry_job(id) puts one back.';
COMMENT ON TABLE automate.job_history_default IS 'History of days that have no partition of their own.';
COMMENT ON COLUMN automate.job_history.id IS 'The job''s id.';
COMMENT ON COLUMN automate.job_history.kind IS 'As in automate.job.';
COMMENT ON COLUMN automate.job_history.owner IS 'Role in whose session it ran.';
COMMENT ON COLUMN automate.job_history.status IS 'succeeded, failed (attempts used up or not worth another), quarantined (the server crashed under it three times) or cancelled.';
COMMENT ON COLUMN automate.job_history.attempts IS 'Attempts made.';
COMMENT ON COLUMN automate.job_history.enqueued_at IS 'When the causing transaction began.';
COMMENT ON COLUMN automate.job_history.started_at IS 'When the last attempt began.';
COMMENT ON COLUMN automate.job_history.finished_at IS 'When it ended.';
COMMENT ON COLUMN automate.job_history.error IS 'SQLSTATE, message, DETAIL and HINT of the last attempt.';
COMMENT ON COLUMN automate.job_history.result IS 'What it answered, such as {"rows": 3}.';
COMMENT ON COLUMN automate.job_history.source IS 'What caused it, such as rule:late or task:rollup.';
COMMENT ON COLUMN automate.job_history.retry IS 'For dead letters: all that automate.retry_job needs to put it back.';

CREATE FUNCTION automate.redrive(job automate.job) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('payload', job.payload, 'lane', job.lane::text, 'priority', job.priority,
        'max_attempts', job.max_attempts, 'timeout_ms', job.timeout_ms, 'backoff_ms', job.backoff_ms, 'concurrency_key', job.concurrency_key,
        'search_path', job.search_path, 'top_level', job.top_level, 'order_key', job.order_key, 'order_seq', job.order_seq)
$$;
COMMENT ON FUNCTION automate.redrive(automate.job) IS
'For the workers: what automate.job_history.retry keeps of a job that did not succeed.';

ALTER TABLE automate.job ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.job_history ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.job_history_default ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.instance ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.job FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
CREATE POLICY own ON automate.job_history FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
CREATE POLICY read ON automate.instance FOR SELECT USING (true);
COMMENT ON POLICY own ON automate.job IS 'A role sees what it owns, and what roles own whose privileges it has.';
COMMENT ON POLICY own ON automate.job_history IS 'A role sees what it owns, and what roles own whose privileges it has.';
COMMENT ON POLICY read ON automate.instance IS 'Whether a database is paused is no secret among its users.';

CREATE FUNCTION automate.enqueue_sql(
    statement       text,
    params          jsonb DEFAULT '[]',
    run_at          timestamptz DEFAULT NULL,
    priority        integer DEFAULT 100,
    dedupe_key      text DEFAULT NULL,
    concurrency_key text DEFAULT NULL,
    max_attempts    integer DEFAULT 1,
    timeout         interval DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_enqueue_sql';
COMMENT ON FUNCTION automate.enqueue_sql(text, jsonb, timestamptz, integer, text, text, integer, interval) IS
'Runs a statement in the background, in a session of the caller, after the caller''s transaction commits: exactly once, also over crashes. params fills $1, $2, ... With dedupe_key, a job to do with the same key is kept and its id returned. A statement that fails is tried max_attempts times in all with growing pauses, then kept in automate.job_history as failed.';

CREATE FUNCTION automate.retry_job(id uuid) RETURNS uuid
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_retry_job';
COMMENT ON FUNCTION automate.retry_job(uuid) IS
'Puts a failed or quarantined job of automate.job_history back in the queue with a fresh count of attempts; returns its id.';

CREATE FUNCTION automate.cancel_job(id uuid) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_cancel_job';
COMMENT ON FUNCTION automate.cancel_job(uuid) IS
'Takes a job that has not begun out of the queue; false if it is running or no longer there.';

CREATE FUNCTION automate.try_key(owner regrole, key text) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_try_key';
COMMENT ON FUNCTION automate.try_key(regrole, text) IS
'For the workers: takes the concurrency key of an owner until the transaction ends; false if somebody else has it.';

CREATE FUNCTION automate.worker_trouble_json() RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_worker_trouble';
COMMENT ON FUNCTION automate.worker_trouble_json() IS
'The workers of this database that are wanted and cannot be started, as a JSON array; the view automate.worker_trouble shows it.';

CREATE VIEW automate.worker_trouble WITH (security_invoker = true, security_barrier = true) AS
SELECT t.worker, t.role::pg_catalog.regrole AS role, t.reason,
       '2000-01-01 00:00:00+00'::pg_catalog.timestamptz OPERATOR(pg_catalog.+) (t.since_us OPERATOR(pg_catalog.*) '1 microsecond'::pg_catalog.interval) AS since,
       '2000-01-01 00:00:00+00'::pg_catalog.timestamptz OPERATOR(pg_catalog.+) (t.next_try_us OPERATOR(pg_catalog.*) '1 microsecond'::pg_catalog.interval) AS next_try
FROM pg_catalog.jsonb_to_recordset(automate.worker_trouble_json())
     AS t(worker text, role oid, reason text, since_us bigint, next_try_us bigint)
WHERE t.role OPERATOR(pg_catalog.=) 0
   OR pg_catalog.pg_has_role(t.role, 'USAGE')
   OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE'));
COMMENT ON VIEW automate.worker_trouble IS
'Workers that are wanted and cannot be started: since when, why, and when it is tried again. Empty when all is well. Own roles only, unless level monitor.';
COMMENT ON COLUMN automate.worker_trouble.worker IS 'coordinator, executor or courier.';
COMMENT ON COLUMN automate.worker_trouble.role IS 'Whose executor it would be; - for the others.';
COMMENT ON COLUMN automate.worker_trouble.reason IS 'Why it cannot be started, and the way out.';
COMMENT ON COLUMN automate.worker_trouble.since IS 'When that was first found.';
COMMENT ON COLUMN automate.worker_trouble.next_try IS 'When it is tried again.';
