"""What tasks do: their types, what they are given, what is kept of their output, when they are ended."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from support.database import Database
from support.http import HttpServer
from support.paths import ROOT
from test_readme import statements

Role = Callable[..., str]


def schedule(db: Database, name: str, kind: str, command: str, args: Any = None, more: str = "") -> None:
    db.execute(
        f"SELECT automate.schedule_task(%s, %s, '@yearly', %s, %s{', ' + more if more else ''})",
        [name, kind, command, json.dumps({} if args is None else args)],
    )


def run(db: Database, name: str) -> dict[str, Any]:
    """Runs a task once, to its end."""
    job = db.one("SELECT automate.execute_task(%s)", [name])
    return ended(db, job)


def ended(db: Database, job: Any) -> dict[str, Any]:
    db.wait_until("SELECT finished_at IS NOT NULL FROM automate.task_runs WHERE job = %s", [job], deadline=30)
    (row,) = db.rows(
        "SELECT status, rows, output, error, attempts, started FROM automate.task_runs WHERE job = %s", [job]
    )
    return dict(zip(("status", "rows", "output", "error", "attempts", "started"), row, strict=True))


def refuse(db: Database, kind: str, command: str, args: Any, state: str, *texts: str) -> None:
    """The definition is refused, with SQLSTATE, facts and a way out; the texts are somewhere in it."""
    with pytest.raises(psycopg.Error) as caught:
        schedule(db, "bad", kind, command, args)
    diag = caught.value.diag
    message, detail, hint = diag.message_primary or "", diag.message_detail or "", diag.message_hint or ""
    assert caught.value.sqlstate == state, caught.value
    assert message and detail and hint, caught.value
    for text in texts:
        assert text in f"{message}\n{detail}\n{hint}", caught.value


# --- sql ----------------------------------------------------------------------------------------


def test_several_statements_are_one_transaction(db: Database) -> None:
    db.execute("CREATE TABLE log (what text, n int)")
    script = "INSERT INTO log VALUES ($1, 1); UPDATE log SET n = n + $2 WHERE what = $1; SELECT what, n FROM log"
    schedule(db, "two", "sql", script, {"params": ["a", 5]})
    done = run(db, "two")
    assert (done["status"], done["rows"], done["output"]) == ("succeeded", 1, "what | n\na | 6\n")
    schedule(db, "half", "sql", "INSERT INTO log VALUES ('lost', 0); SELECT 1 / (count(*) - count(*)) FROM log")
    done = run(db, "half")
    assert done["status"] == "failed" and done["error"].startswith("22012")
    assert db.rows("SELECT what, n FROM log") == [("a", 6)]


def test_a_script_may_use_what_it_makes(db: Database) -> None:
    script = """CREATE TEMP TABLE step (v int); INSERT INTO step VALUES ($1), (2);
                CREATE TABLE kept AS SELECT v FROM step; SELECT sum(v) FROM kept;"""
    schedule(db, "script", "sql", script, {"params": [40]})
    done = run(db, "script")
    assert (done["status"], done["output"]) == ("succeeded", "sum\n42\n")
    # What comes before is looked at, and settings open nothing.
    refuse(db, "sql", "SELECT 1;\nSELECT * FROM nowhere; CREATE TABLE x ()", {}, "42P01", "line 2, column 15")
    refuse(db, "sql", "SET LOCAL work_mem = '8MB'; SELECT nothing", {}, "42703", "At character 36")
    refuse(db, "sql", "SELECT 1; COMMIT", {}, "2D000", "transaction command")
    refuse(db, "sql", "SELECT 1; VACUUM", {}, "25001", "must be alone")
    refuse(db, "sql", "SELECT $1; SELECT $2", {"params": [1]}, "22023", "takes 2 parameters, but params has 1")
    refuse(db, "sql", "CREATE TABLE x ()", {"params": [1]}, "22023", "takes 0 parameters")
    refuse(db, "sql", "SELECT '${ .scheduled_at }'", {}, "22023", "Write $1, $2")
    refuse(db, "sql", " -- nothing", {}, "42601", "there is no statement")


def test_rights_are_looked_at_in_every_statement(db: Database, role: Role) -> None:
    db.execute("CREATE TABLE secret (a int)")
    with db.connect(role("ann")) as session, pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        session.execute(
            "SELECT automate.schedule_task('t', 'sql', '@daily', 'SELECT 1; DELETE FROM public.secret')"
        )
    assert "secret" in str(caught.value)


# --- functions and procedures -------------------------------------------------------------------


def test_a_function_is_called_with_the_owners_rights(db: Database, role: Role) -> None:
    ann = role("ann")
    with db.connect(ann) as session:
        session.execute("CREATE TABLE log (who text, a int, b text[], c jsonb)")
        session.execute("""CREATE FUNCTION note(a int, b text[] DEFAULT '{}', c jsonb DEFAULT NULL) RETURNS int
            LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'a is %', a; INSERT INTO log VALUES (current_user, a, b, c);
            RETURN a * 2; END $$""")
        for args in ({"params": [1, ["x", "y"]]}, {"args": {"c": {"k": 1}, "a": 2}}):
            session.execute("SELECT automate.schedule_task('n' || $1, 'function', '@yearly', 'note', $2::jsonb)".replace(
                "$1", "%s").replace("$2", "%s"), [str(len(args)) + next(iter(args)), json.dumps(args)])
    outputs = [run(db, name) for name in ("n1params", "n1args")]
    assert [(o["status"], o["rows"], o["output"]) for o in outputs] == [
        ("succeeded", 1, "NOTICE:  a is 1\nnote\n2\n"), ("succeeded", 1, "NOTICE:  a is 2\nnote\n4\n")]
    assert db.rows("SELECT * FROM log ORDER BY a") == [(ann, 1, ["x", "y"], None), (ann, 2, [], {"k": 1})]


def test_what_is_no_function_is_refused(db: Database, role: Role) -> None:
    db.execute("CREATE FUNCTION rollup(day date) RETURNS void LANGUAGE sql AS ''")
    db.execute("CREATE FUNCTION twice(a int) RETURNS int LANGUAGE sql AS 'SELECT a'")
    db.execute("CREATE FUNCTION twice(a text) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    db.execute("CREATE PROCEDURE work(n int) LANGUAGE sql AS ''")
    refuse(db, "function", "rolup", {"params": ["2026-01-01"]}, "42883", 'Did you mean "rollup"?')
    refuse(db, "function", "rollup", {}, "42883", "There is public.rollup(date)")
    refuse(db, "function", "nowhere.f", {}, "3F000")
    refuse(db, "function", "twice(int, int)", {"params": [1]}, "22023", "the signature has 2 types")
    refuse(db, "function", "work", {"params": [1]}, "42809")
    refuse(db, "function", "rollup; DROP TABLE x", {}, "22023", "not the name of a function")
    refuse(db, "function", "rollup", {"parms": []}, "22023", 'Did you mean "params"?')
    refuse(db, "function", "rollup", {"params": [], "args": {}}, "22023", "not both")
    refuse(db, "function", "rollup(date)", {"args": {"day": "2026-01-01"}}, "22023", "signature")
    refuse(db, "procedure", "wrk", {"params": [1]}, "42883", 'Did you mean "work"?')
    refuse(db, "procedure", "CALL wrk(1)", {}, "42883")
    refuse(db, "procedure", "CALL work(1)", {"params": [1]}, "22023", "takes no parameters")
    refuse(db, "procedure", "COMMIT", {}, "2D000")
    refuse(db, "procedure", "SELECT 1; SELECT 2", {}, "42601", "is one statement")
    schedule(db, "signature", "function", "twice(text)", {"params": [7]})
    assert run(db, "signature")["output"] == "twice\n1\n"
    db.execute("REVOKE EXECUTE ON FUNCTION rollup(date), twice(text) FROM PUBLIC")
    with db.connect(role("ann")) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(
            "SELECT automate.schedule_task('t', 'function', '@daily', 'rollup', '{\"params\": [\"2026-01-01\"]}')"
        )


def test_a_procedure_by_name_may_commit(db: Database) -> None:
    db.execute("CREATE SCHEMA app; CREATE TABLE app.log (n int, t text)")
    db.execute("""CREATE PROCEDURE app.work(n int, t text) LANGUAGE plpgsql AS $$ BEGIN
        FOR i IN 1..n LOOP INSERT INTO log VALUES (i, t); COMMIT; END LOOP; RAISE WARNING 'done %', t; END $$""")
    text = "it's \\ $1 ${x}; --"
    db.execute("SET search_path = app")
    schedule(db, "by_place", "procedure", "app.work", {"params": [2, text]})
    schedule(db, "by_name", "procedure", "work", {"args": {"t": "b", "n": 1}})
    schedule(db, "written", "procedure", "CALL work(1, 'c')")
    schedule(db, "vacuum", "procedure", "VACUUM (VERBOSE) log")
    db.execute("RESET search_path")
    for name in ("by_place", "by_name", "written"):
        done = run(db, name)
        assert done["status"] == "succeeded", done
    assert done["output"] == "WARNING:  done c\n"
    assert db.rows("SELECT n, t FROM app.log ORDER BY t, n") == [(1, "b"), (1, "c"), (1, text), (2, text)]
    assert "INFO:  vacuuming" in run(db, "vacuum")["output"]


def test_what_is_dropped_disables_its_task_alone(db: Database) -> None:
    db.execute("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    db.execute("CREATE PROCEDURE p() LANGUAGE sql AS ''")
    db.execute("CREATE TABLE t (a int)")
    db.execute("SELECT automate.create_template('hello', 's', 'b'), automate.create_channel('log', 'log', '{}')")
    make_workflow(db, "w", "SELECT 1")
    schedule(db, "function", "function", "f", more="retries => 3")
    schedule(db, "procedure", "procedure", "p", more="retries => 3")
    schedule(db, "workflow", "workflow", "w", more="retries => 3")
    schedule(db, "notification", "notification", "hello", {"recipients": ["log:x"]})
    schedule(db, "table", "sql", "SELECT * FROM t")
    schedule(db, "other", "sql", "SELECT 1")
    assert run(db, "function")["status"] == run(db, "procedure")["status"] == "succeeded"
    db.execute("DROP FUNCTION f(); DROP PROCEDURE p(); DROP TABLE t")
    db.execute("SELECT automate.drop_workflow('w'), automate.drop_template('hello')")
    for name in ("function", "procedure", "workflow", "notification", "table"):
        done = run(db, name)
        assert (done["status"], done["attempts"]) == ("failed", 1), (name, done)
    states = dict(db.rows("SELECT name, (status, status_reason) FROM automate.task"))
    assert states["other"] == states["table"] == ("active", None)
    for name, word in (("function", "f()"), ("procedure", "p()"), ("workflow", '"w"'), ("notification", '"hello"')):
        assert states[name][0] == "disabled" and "does not exist" in states[name][1], name
        assert word in states[name][1]
    assert run(db, "other")["status"] == "succeeded"


# --- workflows, reports, notifications ----------------------------------------------------------


def make_workflow(db: Database, name: str, *queries: str) -> None:
    document = {
        "document": {"dsl": "1.0.0", "namespace": "test", "name": name, "version": "1.0.0"},
        "do": [{f"s{i}": {"call": "sql", "with": {"query": q}}} for i, q in enumerate(queries)],
    }
    db.execute("SELECT automate.create_workflow(%s, %s)", [name, json.dumps(document)])


def test_a_run_is_open_while_its_workflow_goes_on(db: Database) -> None:
    make_workflow(db, "w", "SELECT pg_advisory_xact_lock(31)")
    db.execute("SELECT pg_advisory_lock(31)")
    schedule(db, "held", "workflow", "w", more="overlap => 'queue'")
    first, second = (db.one("SELECT automate.execute_task('held')") for _ in range(2))
    db.wait_until("SELECT started IS NOT NULL FROM automate.task_runs WHERE job = %s", [first])
    states = dict(db.rows("SELECT job, status FROM automate.task_runs"))
    assert states == {first: "running", second: "queued"}
    assert db.one("SELECT automate.cancel_job(%s)", [first]) is False
    assert db.one("SELECT count(*) FROM automate.run") == 1
    db.execute("SELECT pg_advisory_unlock(31)")
    done = ended(db, first)
    assert done["status"] == ended(db, second)["status"] == "succeeded"
    assert db.one("SELECT status FROM automate.run WHERE id = %s", [done["started"]]) == "completed"
    assert db.one("SELECT count(*) FROM automate.job") == 0


def test_a_workflow_that_faults_is_tried_again(db: Database) -> None:
    db.execute("CREATE SEQUENCE tries")
    make_workflow(db, "shaky", "SELECT 1 / (nextval('tries') - 1)")
    make_workflow(db, "broken", "SELECT 1 / (nextval('tries') * 0)")
    schedule(db, "shaky", "workflow", "shaky", more="retries => 2, backoff => '50 ms'")
    done = run(db, "shaky")
    assert (done["status"], done["attempts"], done["error"]) == ("succeeded", 2, None)
    assert db.rows("SELECT status FROM automate.run ORDER BY id") == [("faulted",), ("completed",)]
    schedule(db, "broken", "workflow", "broken")
    done = run(db, "broken")
    assert done["status"] == "failed" and "22012" in done["error"] and str(done["started"]) in done["error"]


def test_a_cancelled_workflow_cancels_the_run(db: Database) -> None:
    document = {
        "document": {"dsl": "1.0.0", "namespace": "test", "name": "w", "version": "1.0.0"},
        "do": [{"rest": {"wait": {"hours": 1}}}],
    }
    db.execute("SELECT automate.create_workflow('w', %s)", [json.dumps(document)])
    schedule(db, "t", "workflow", "w", more="overlap => 'replace', retries => 5")
    job = db.one("SELECT automate.execute_task('t')")
    started = db.wait_until("SELECT started FROM automate.task_runs")
    db.execute("SELECT automate.cancel_run(%s)", [started])
    done = ended(db, job)
    assert done["status"] == "cancelled" and done["error"].startswith("57014")
    # Asked for from the side of the task, the workflow ends as well.
    job = db.one("SELECT automate.execute_task('t')")
    db.wait_until("SELECT started IS NOT NULL FROM automate.task_runs WHERE job = %s", [job])
    other = db.one("SELECT automate.execute_task('t')")
    db.execute(
        "SELECT automate.cancel_task_run('t', scheduled_at, 'enough') FROM automate.task_runs WHERE job = %s", [job]
    )
    assert ended(db, job)["error"] == "57014: cancelled: by postgres: enough"
    db.wait_until("SELECT started IS NOT NULL FROM automate.task_runs WHERE job = %s", [other])
    assert db.rows("SELECT status FROM automate.run ORDER BY id LIMIT 2") == [("cancelled",), ("cancelled",)]


def test_a_report_takes_its_run_to_its_end(db: Database) -> None:
    for name, query in (("good", "SELECT 1 AS a"), ("bad", "SELECT 1 / (random() * 0)::int AS a")):
        definition = {"title": "t", "datasets": {"d": {"sql": query}}, "layout": [{"table": {"data": "d"}}]}
        db.execute("SELECT automate.create_report(%s, %s)", [name, json.dumps(definition)])
        schedule(db, name, "report", name)
    done = run(db, "good")
    assert (done["status"], done["rows"]) == ("succeeded", 1)
    assert db.one("SELECT status FROM automate.report_run WHERE id = %s", [done["started"]]) == "completed"
    done = run(db, "bad")
    assert done["status"] == "failed" and "division by zero" in done["error"]


def test_a_notification(db: Database) -> None:
    db.execute("SELECT automate.create_template('hello', 'Hello {{ name }}', 'At {{ at }}')")
    db.execute("SELECT automate.create_channel('log', 'log', '{}')")
    args = {"recipients": ["log:ops"], "params": {"name": "Ann", "at": "${ .scheduled_at }"}}
    schedule(db, "n", "notification", "hello", args)
    done = run(db, "n")
    subject, body = db.rows("SELECT subject, body FROM automate.notification WHERE id = %s", [done["started"]])[0]
    at = db.one("SELECT scheduled_at FROM automate.task_run")
    assert subject == "Hello Ann" and at.strftime("At %Y-%m-%dT%H:%M:%S") in body
    refuse(db, "notification", "helo", args, "42704", 'Did you mean "hello"?')
    refuse(db, "notification", "hello", {"recipients": ["lgo:ops"]}, "42704", 'Did you mean "log"?')
    refuse(db, "notification", "hello", {}, "22023", "needs recipients")


# --- http ---------------------------------------------------------------------------------------


def test_http(db: Database, http: HttpServer) -> None:
    args = {"method": "POST", "headers": {"x-task": "${ .task.name }"}, "query": {"a": "b"},
            "body": {"attempt": "${ .run.attempt }", "cause": "${ .run.cause }"}}
    schedule(db, "post", "http", f"{http.url}/hook", args, "retries => 2, backoff => '20 ms'")
    http.script = ["500", "200"]
    done = run(db, "post")
    assert (done["status"], done["attempts"], done["output"]) == ("succeeded", 2, '200 {"ok": true}')
    first, second = http.requests
    assert first.method == "POST" and first.path == "/hook?a=b" and first.headers["x-task"] == "post"
    assert first.json == {"attempt": 1, "cause": "manual"} and first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    http.script = ["404", "404", "200"]
    done = run(db, "post")
    assert (done["status"], done["attempts"]) == ("failed", 1) and "404" in done["error"]
    assert done["output"].startswith("404")
    schedule(db, "expect", "http", f"{http.url}/x", {"expect": [404]})
    assert run(db, "expect")["status"] == "succeeded"
    done = run(db, "expect")
    assert done["status"] == "failed" and "not expected" in done["error"]
    http.script, http.retry_after = ["429"], "1"
    schedule(db, "patient", "http", f"{http.url}/x", {}, "retries => 1, backoff => '1 ms'")
    done = run(db, "patient")
    assert (done["status"], done["attempts"]) == ("succeeded", 2)
    assert http.requests[-1].at - http.requests[-2].at >= 0.9
    assert http.requests[-1].method == "GET"


def test_bad_requests_are_refused(db: Database) -> None:
    refuse(db, "http", "ftp://example.com", {}, "22023", "https://")
    refuse(db, "http", "http://10.0.0.1/x", {}, "42501", "automate.network_allow")
    refuse(db, "http", "https://example.com", {"method": "PSOT"}, "22023", "POST")
    refuse(db, "http", "https://example.com", {"expect": "ok"}, "22023", "expect")
    refuse(db, "http", "https://example.com", {"boddy": 1}, "22023", 'Did you mean "body"?')


# --- arguments ----------------------------------------------------------------------------------


def test_arguments(db: Database) -> None:
    params = ["${ .task.name }", "${ .run.cause }", "${ .run.attempt }", "${ .scheduled_at }", "$ {x}", "${ .run.id }"]
    query = "SELECT $1 || $2, $3::int, $4::timestamptz, $5::text, $6::uuid"
    schedule(db, "args", "sql", f"CREATE TABLE seen (a text, b int, c timestamptz, d text, e uuid); INSERT INTO seen {query}",
             {"params": params})
    job = db.one("SELECT automate.execute_task('args')")
    assert ended(db, job)["status"] == "succeeded"
    at = db.one("SELECT scheduled_at FROM automate.task_run")
    assert db.rows("SELECT * FROM seen") == [("argsmanual", 1, at, "$ {x}", job)]
    schedule(db, "made", "sql", "SELECT $1::int + $2::int AS n", {"params": "${ [1, 2] }"})
    assert run(db, "made")["output"] == "n\n3\n"
    refuse(db, "sql", "SELECT $1::text", {"params": ["${ .a | }"]}, "22023", "/params/0")
    schedule(db, "endless", "sql", "SELECT $1::text", {"params": ["${ [range(1e12)] | length }"]})
    done = run(db, "endless")
    assert done["status"] == "failed" and "stopped" in done["error"]


# --- output -------------------------------------------------------------------------------------


def test_output_is_bounded(db: Database) -> None:
    schedule(db, "many", "sql", "SELECT n, NULL AS nothing, repeat('é', 100) AS text FROM generate_series(1, 2000000) AS n")
    done = run(db, "many")
    assert (done["status"], done["rows"]) == ("succeeded", 2_000_000)
    assert done["output"].startswith("n | nothing | text\n1 |  | é") and "(2000000 rows in all)" in done["output"]
    assert len(done["output"].encode()) < 8400
    schedule(db, "large", "sql", "SELECT repeat('x', 10000000) AS a, 1 AS b")
    assert run(db, "large")["output"] == "a | b\n(10000004 bytes) | 1\n"
    schedule(db, "chatty", "sql", "DO $$ BEGIN FOR i IN 1..2000 LOOP RAISE NOTICE 'line % é', i; END LOOP; END $$")
    output = run(db, "chatty")["output"]
    assert output.startswith("NOTICE:  line 1 é\nNOTICE:  line 2 é") and output.endswith("(cut)\n")
    assert len(output.encode()) < 8400
    assert db.one("SELECT bool_and(result ->> 'output' IS NULL) FROM automate.job_history") is True


def test_what_was_said_before_an_error_is_kept(db: Database) -> None:
    db.execute("CREATE TABLE t (a int)")
    block = "RAISE NOTICE 'begun' USING DETAIL = 'so far'; RAISE DEBUG 'unheard'; RAISE EXCEPTION 'no'; END"
    schedule(db, "inside", "sql", f"DO $$ BEGIN {block} $$")
    db.execute(f"CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN {block} $$")
    schedule(db, "top", "procedure", "p")
    for name in ("inside", "top"):
        done = run(db, name)
        assert (done["status"], done["output"]) == ("failed", "NOTICE:  begun\nDETAIL:  so far\n"), name
        assert done["error"].startswith("P0001: no")
    schedule(db, "quiet", "sql", "SET LOCAL client_min_messages = warning; DO $$ BEGIN RAISE NOTICE 'x'; RAISE WARNING 'y'; END $$")
    assert run(db, "quiet")["output"] == "WARNING:  y\n"


# --- time limits --------------------------------------------------------------------------------

STUBBORN = """DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"""


@pytest.fixture
def strict_db(bare_db: Database) -> Database:
    """A database whose coordinator does not wait long for what should have stopped."""
    bare_db.execute("SET client_min_messages = warning")
    name = bare_db.one("SELECT current_database()")
    bare_db.execute(f"ALTER DATABASE {name} SET automate.kill_after = '300 ms'")
    bare_db.execute("CREATE EXTENSION pg_automate")
    return bare_db


@pytest.mark.parametrize("kind", ["sql", "procedure"])
def test_code_that_swallows_its_timeout_is_ended(strict_db: Database, kind: str) -> None:
    db = strict_db
    schedule(db, "stubborn", kind, STUBBORN, more="timeout => '200 ms', retries => 1, backoff => '10 ms'")
    schedule(db, "other", "sql", "SELECT pg_backend_pid()", more="timeout => '20 s'")
    job = db.one("SELECT automate.execute_task('stubborn')")
    db.wait_until("SELECT status = 'running' FROM automate.task_runs WHERE job = %s", [job])
    done = ended(db, job)
    assert (done["status"], done["attempts"]) == ("failed", 2), done
    assert done["error"].startswith("57014: it went on for 300ms after its timeout of 200ms")
    assert run(db, "other")["status"] == "succeeded"
    assert db.one("SELECT count(*) FROM automate.job_history WHERE status = 'quarantined'") == 0
    assert db.one("SELECT count(*) FROM automate.job") == 0


def test_code_that_stops_at_its_timeout_goes_its_usual_way(strict_db: Database) -> None:
    schedule(strict_db, "sleepy", "sql", "SELECT pg_sleep(60)", more="timeout => '100 ms'")
    done = run(strict_db, "sleepy")
    assert done["status"] == "failed" and "statement timeout" in done["error"]


# --- docs/task-types.md -------------------------------------------------------------------------


def test_the_examples_of_the_document_run(db: Database, role: Role, http: HttpServer) -> None:
    text = (ROOT / "docs" / "task-types.md").read_text()
    session = db.connect(role("reader", level="network"))
    for example in re.findall(r"```sql\n(.*?)```", text, re.DOTALL):
        for statement in statements(example.replace("https://example.com", http.url)):
            session.execute(statement)  # type: ignore[arg-type]
    session.execute("SELECT automate.execute_task(name) FROM automate.task")
    db.wait_until("SELECT bool_and(finished_at IS NOT NULL) FROM automate.task_runs", deadline=30)
    assert db.rows("SELECT task, error FROM automate.task_runs WHERE status <> 'succeeded'") == []
    assert {kind for (kind,) in db.rows("SELECT task_type FROM automate.task")} == {
        "sql", "procedure", "function", "workflow", "report", "notification", "http"}
