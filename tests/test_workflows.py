"""Workflows: definitions, runs, and that every step happens exactly once."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import psycopg
import pytest
from psycopg import errors

from support.cluster import Cluster, wait_until
from support.database import Database
from support.polling import poll

STANDARD = "https://open-workflow-specification.org/spec/1.0.0/errors/"


def sql(query: str, *params: object, **more: object) -> dict[str, Any]:
    """A `call: sql` task."""
    return {"call": "sql", "with": {"query": query, "params": list(params), **more}}


def create(db: Database, name: str, *tasks: dict[str, Any], **more: object) -> int:
    named = [{f"t{i}" if len(t) != 1 else next(iter(t)): t if len(t) != 1 else t[next(iter(t))]}
             for i, t in enumerate(tasks)]
    document = json.dumps({"do": named, **more})
    return int(db.one("SELECT automate.create_workflow(%s, %s::jsonb)", [name, document]))


def start(db: Database, name: str, data: object = None, **more: object) -> str:
    named = "".join(f", {key} => %s" for key in more)
    call = f"SELECT automate.execute_workflow(%s, %s::jsonb{named})"
    return str(db.one(call, [name, json.dumps(data or {}), *more.values()]))


def end(db: Database, run: str, deadline: float = 20) -> tuple[str, Any, Any]:
    """Status, output and error of a run, once it has ended."""
    db.wait_until("SELECT finished_at IS NOT NULL FROM automate.run WHERE id = %s", [run], deadline)
    return db.rows("SELECT status, output, error FROM automate.run WHERE id = %s", [run])[0]


def steps(db: Database, run: str) -> list[tuple[Any, ...]]:
    return db.rows(
        "SELECT name, attempt, status FROM automate.run_step WHERE run = %s"
        " ORDER BY started_at, step, attempt",
        [run],
    )


def no_jobs(db: Database) -> None:
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job)")


# --- definitions ----------------------------------------------------------------------------


def test_versions(db: Database) -> None:
    assert create(db, "w", sql("SELECT 1 AS a")) == 1
    assert create(db, "w", sql("SELECT 1 AS a")) == 1
    assert create(db, "w", sql("SELECT 2 AS a")) == 2
    assert create(db, "w", sql("SELECT 1 AS a")) == 3
    assert end(db, start(db, "w"))[1] == [{"a": 1}]
    assert end(db, start(db, "w", version=2))[1] == [{"a": 2}]
    with pytest.raises(errors.UndefinedObject, match="no version 9"):
        start(db, "w", version=9)


def test_everything_wrong_is_told(db: Database) -> None:
    document = {"do": [{"a": sql("SELECT * FROM nope")}, {"b": sql("VACUUM")},
                       {"c": sql("SELECT $1::int")}]}
    rows = db.rows(
        "SELECT pointer, code, message FROM automate.validate_workflow(%s::jsonb)",
        [json.dumps(document)],
    )
    assert [(r[0], r[1]) for r in rows] == [
        ("/do/0/a/with", "invalid_statement"),
        ("/do/1/b/with", "top_level_statement"),
        ("/do/2/c/with", "missing_params"),
    ]
    assert "At character 15" in rows[0][2]
    with pytest.raises(errors.UndefinedTable, match='relation "nope" does not exist') as refused:
        db.execute("SELECT automate.create_workflow('w', %s::jsonb)", [json.dumps(document)])
    assert "/do/1/b" in (refused.value.diag.message_detail or "")
    assert db.one("SELECT count(*) FROM automate.workflow") == 0


def test_misspellings_are_met_with_a_hint(db: Database) -> None:
    create(db, "delay-care", sql("SELECT 1"))
    with pytest.raises(errors.UndefinedObject) as refused:
        start(db, "delay-car")
    assert refused.value.diag.message_hint == 'Did you mean "delay-care"?'
    with pytest.raises(errors.InvalidParameterValue) as refused2:
        create(db, "w", {"a": {"swich": []}})
    assert "switch" in (refused2.value.diag.message_hint or "")
    with pytest.raises(errors.InvalidParameterValue, match="needs nodes"):
        db.execute("SELECT automate.create_workflow('w', nodes => '[]')")
    with pytest.raises(errors.InvalidParameterValue, match='template "hello" does not exist'):
        create(db, "w", {"a": {"call": "notify", "with": {"template": "hello", "to": "log:x"}}})


def test_disable_and_drop(db: Database) -> None:
    create(db, "w", {"w": {"wait": {"hours": 1}}})
    run = start(db, "w")
    db.execute("SELECT automate.disable_workflow('w')")
    with pytest.raises(errors.ObjectNotInPrerequisiteState):
        start(db, "w")
    db.execute("SELECT automate.enable_workflow('w')")
    with pytest.raises(errors.ObjectInUse):
        db.execute("SELECT automate.drop_workflow('w')")
    assert db.one("SELECT automate.cancel_run(%s)", [run]) is True
    assert end(db, run)[0] == "cancelled"
    assert db.one("SELECT automate.cancel_run(%s)", [run]) is False
    db.execute("SELECT automate.drop_workflow('w')")
    assert db.one("SELECT count(*) FROM automate.workflow_version") == 0


# --- steps ----------------------------------------------------------------------------------


def test_results_flow_through_three_steps(db: Database) -> None:
    db.execute("CREATE TABLE item (id int, price numeric)")
    create(
        db, "chain",
        {"add": sql("INSERT INTO item VALUES ($1, 2.50), ($1 + 1, 4) RETURNING id", "${ .n }")},
        {"sum": sql("SELECT sum(price) AS total, count(*) AS n FROM item WHERE id = ANY ($1::int[])",
                    "${ [.[].id] }", result="one", expect="one")},
        {"name": sql("SELECT $1 || ' for ' || $2", "${ .n | tostring }", "${ .total | tostring }",
                     result="scalar")},
        {"last": {"set": {"text": "${ . }", "run": "${ $workflow.id }"}}},
    )  # fmt: skip
    run = start(db, "chain", {"n": 7})
    assert end(db, run) == ("completed", {"text": "2 for 6.5", "run": run}, None)
    assert steps(db, run) == [(name, 1, "completed") for name in ("add", "sum", "name", "last")]
    assert db.one("SELECT state IS NULL AND revision > 0 FROM automate.run") is True
    no_jobs(db)


def test_switch_set_and_raise(db: Database) -> None:
    create(
        db, "decide",
        {"look": sql("SELECT $1::int AS n", "${ .n }", result="one")},
        {"which": {"switch": [{"big": {"when": ".n > 9", "then": "refuse"}},
                              {"small": {"then": "take"}}]}},
        {"refuse": {"raise": {"error": {"type": "https://example.com/refused", "status": 403,
                                        "title": "Refused"}}}},
        {"take": {"set": {"taken": "${ .n }"}}},
    )  # fmt: skip
    assert end(db, start(db, "decide", {"n": 3}))[:2] == ("completed", {"taken": 3})
    status, output, error = end(db, start(db, "decide", {"n": 10}))
    assert (status, output) == ("faulted", None)
    assert (error["status"], error["instance"]) == (403, "/do/2/refuse")


def test_an_error_faults_the_run_and_undoes_its_step(db: Database) -> None:
    db.execute("CREATE TABLE t (v int)")
    create(
        db, "bad",
        {"good": sql("INSERT INTO t VALUES (1)", result="none")},
        {"bad": sql("WITH x AS (INSERT INTO t VALUES (2) RETURNING v) SELECT v / 0 FROM x")},
    )
    run = start(db, "bad")
    status, _, error = end(db, run)
    assert status == "faulted"
    assert error["detail"].startswith("22012: division by zero")
    assert error["instance"] == "/do/1/bad"
    assert steps(db, run) == [("good", 1, "completed"), ("bad", 1, "faulted")]
    assert db.rows("SELECT v FROM t") == [(1,)]
    no_jobs(db)


def test_expectations_undo_the_step(db: Database) -> None:
    db.execute("CREATE TABLE t (v int)")
    create(db, "w", sql("INSERT INTO t VALUES (1), (2) RETURNING v", result="one", expect="one"))
    assert "P0003" in end(db, start(db, "w"))[2]["detail"]
    assert db.one("SELECT count(*) FROM t") == 0


def test_division_by_zero_is_caught(db: Database) -> None:
    create(
        db, "care",
        {"care": {"try": [{"bad": sql("SELECT 1 / $1::int", "${ .n }")}],
                  "catch": {"errors": {"with": {"type": STANDARD + "runtime", "status": 400}},
                            "as": "e", "do": [{"mend": {"set": {"why": "${ $e.detail }"}}}]}}},
    )  # fmt: skip
    status, output, _ = end(db, start(db, "care", {"n": 0}))
    assert (status, output) == ("completed", {"why": "22012: division by zero"})


def test_retry_waits_and_tries_again(db: Database) -> None:
    db.execute("CREATE SEQUENCE tries")
    create(
        db, "again",
        {"again": {
            "try": [{"flaky": sql("SELECT 1 / (nextval('tries') / 3)::int AS x", result="one")}],
            "catch": {"retry": {"delay": {"milliseconds": 50}, "limit": {"attempt": {"count": 5}}}},
        }},
    )  # fmt: skip
    run = start(db, "again")
    assert end(db, run)[:2] == ("completed", {"x": 1})
    flaky = [row for row in steps(db, run) if row[0] == "flaky"]
    assert flaky == [("flaky", 1, "faulted"), ("flaky", 2, "faulted"), ("flaky", 3, "completed")]


def test_wait_holds_no_backend(db: Database) -> None:
    create(db, "w", {"w": {"wait": {"milliseconds": 300}}}, sql("SELECT 1 AS a"))
    run = start(db, "w")
    db.wait_until("SELECT status = 'waiting' FROM automate.run WHERE id = %s", [run])
    assert db.one("SELECT status FROM automate.job") == "scheduled"
    assert end(db, run)[:2] == ("completed", [{"a": 1}])
    took = db.one("SELECT finished_at - started_at FROM automate.run")
    assert took.total_seconds() >= 0.3


def test_timeout_of_a_step(db: Database) -> None:
    task = {**sql("SELECT pg_sleep(60)"), "timeout": {"after": {"milliseconds": 100}}}
    create(db, "w", {"slow": task})
    error = end(db, start(db, "w"))[2]
    assert (error["status"], error["type"].rsplit("/", 1)[1]) == (408, "timeout")
    assert error["detail"].startswith("57014")


def test_timeout_of_a_run(db: Database) -> None:
    create(db, "w", {"w": {"wait": {"hours": 1}}}, timeout={"after": {"milliseconds": 200}})
    status, _, error = end(db, start(db, "w"))
    assert (status, error["status"]) == ("faulted", 408)


def test_a_loop_over_rows(db: Database) -> None:
    db.execute("CREATE TABLE t (v int)")
    create(
        db, "loop",
        {"list": sql("SELECT generate_series(1, 20) AS v")},
        {"each": {"for": {"each": "row", "in": "."},
                  "do": [{"put": sql("INSERT INTO t VALUES ($1)", "${ $row.v }", result="none")}]}},
    )  # fmt: skip
    assert end(db, start(db, "loop"))[0] == "completed"
    assert db.one("SELECT array_agg(v ORDER BY v) = array(SELECT generate_series(1, 20)) FROM t")
    no_jobs(db)


def test_settings_of_a_step_do_not_reach_the_next(db: Database) -> None:
    create(
        db, "w",
        {"a": sql("SELECT set_config('statement_timeout', '1ms', false)")},
        {"b": sql("SELECT current_setting('statement_timeout')", result="scalar")},
    )
    assert end(db, start(db, "w"))[1] == "0"


def test_nul_and_large_values(db: Database) -> None:
    create(db, "nul", {"a": {"set": {"x": "${ [0] | implode }"}}})
    status, _, error = end(db, start(db, "nul"))
    assert (status, error["title"]) == ("faulted", "NUL in the data")
    create(db, "large", sql("SELECT repeat('x', 20000)", result="scalar"))
    run = start(db, "large")
    assert len(end(db, run)[1]) == 20000
    output = db.one("SELECT output FROM automate.run_step WHERE run = %s", [run])
    assert (output["truncated"], output["bytes"], len(output["start"])) == (True, 20002, 1000)


def test_a_deadlock_is_tried_again(db: Database) -> None:
    db.execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0)")
    create(
        db, "w",
        sql("DO $$ BEGIN UPDATE public.t SET v = v + 1 WHERE id = 1; PERFORM pg_sleep(0.3);"
            " UPDATE public.t SET v = v + 1 WHERE id = 2; END $$", result="none"),
    )  # fmt: skip
    other = db.connect(autocommit=False)
    # The other side waits longer before it looks for a deadlock, so the step is the victim.
    other.execute("SET deadlock_timeout = '30s'; UPDATE t SET v = v + 10 WHERE id = 2")
    run = start(db, "w")
    db.wait_until("SELECT status = 'running' FROM automate.run WHERE id = %s", [run])
    other.execute("UPDATE t SET v = v + 10 WHERE id = 1")
    other.commit()
    assert end(db, run)[0] == "completed"
    assert db.rows("SELECT v FROM t ORDER BY id") == [(11,), (11,)]


# --- transactions ---------------------------------------------------------------------------


def test_rolled_back_starts_leave_nothing(db: Database) -> None:
    create(db, "w", sql("SELECT 1"))
    client = db.connect(autocommit=False)
    client.execute("SELECT automate.execute_workflow('w')")
    client.rollback()
    client.execute("SELECT automate.execute_workflow('w', '{\"kept\": true}')")
    client.execute("SAVEPOINT s; SELECT automate.execute_workflow('w'); ROLLBACK TO s")
    client.commit()
    assert db.rows("SELECT input FROM automate.run") == [({"kept": True},)]


def test_idempotency_key(db: Database) -> None:
    create(db, "w", sql("SELECT 1"))
    create(db, "other", sql("SELECT 1"))
    run = start(db, "w", idempotency_key="k")
    assert start(db, "w", {"other": 1}, idempotency_key="k") == run
    assert start(db, "other", idempotency_key="k") != run
    assert db.one("SELECT count(*) FROM automate.run") == 2


def test_nothing_starts_before_a_long_transaction_commits(db: Database) -> None:
    db.execute("CREATE TABLE t (at timestamptz)")
    create(db, "w", sql("INSERT INTO t VALUES (clock_timestamp())", result="none"))
    client = db.connect(autocommit=False)
    run = str(client.execute("SELECT automate.execute_workflow('w')").fetchone()[0])
    client.execute("SELECT pg_sleep(9)")
    committed = client.execute("SELECT clock_timestamp()").fetchone()[0]
    client.commit()
    assert end(db, run)[0] == "completed"
    delay = (db.one("SELECT at FROM t") - committed).total_seconds()
    assert 0 < delay < 3


def test_slow_steps_run_at_once(db: Database) -> None:
    create(db, "w", sql("SELECT pg_sleep(2)"))
    begun = time.monotonic()
    db.execute("SELECT automate.execute_workflow('w') FROM generate_series(1, 4)")
    db.wait_until("SELECT count(*) = 4 FROM automate.run WHERE status = 'completed'", deadline=10)
    assert time.monotonic() - begun < 6


def test_cancelling_a_run_in_its_step(db: Database) -> None:
    create(db, "w", sql("SELECT pg_sleep(1)"), sql("SELECT 1 / 0"))
    run = start(db, "w")
    db.wait_until("SELECT status = 'running' FROM automate.run WHERE id = %s", [run])
    assert db.one("SELECT status FROM automate.run_step WHERE run = %s", [run]) == "running"
    assert db.one("SELECT automate.cancel_run(%s)", [run]) is True
    assert end(db, run)[0] == "cancelled"
    assert ("t0", 1, "completed") in steps(db, run)
    no_jobs(db)


def test_a_run_whose_definition_is_gone_faults(db: Database) -> None:
    create(db, "w", {"w": {"wait": {"milliseconds": 200}}}, sql("SELECT 1"))
    run = start(db, "w")
    db.wait_until("SELECT status = 'waiting' FROM automate.run WHERE id = %s", [run])
    db.execute("UPDATE automate.run SET state = '{\"status\": 5}', revision = revision + 1")
    assert "cannot be read" in end(db, run)[2]["detail"]
    no_jobs(db)


# --- owners ---------------------------------------------------------------------------------


def test_runs_belong_to_their_owner(db: Database, role: Any) -> None:
    ann, bob = role("ann"), role("bob")
    db.execute("CREATE TABLE who (name text); GRANT INSERT ON who TO PUBLIC")
    definition = json.dumps({"do": [{"a": sql("INSERT INTO who VALUES (session_user)")}]})
    as_ann, as_bob = db.connect(ann), db.connect(bob)
    as_ann.execute("SELECT automate.create_workflow('w', %s::jsonb)", [definition])
    run = as_ann.execute("SELECT automate.execute_workflow('w')").fetchone()[0]
    wait_until(as_ann, "SELECT status = 'completed' FROM automate.run WHERE id = %s", [run])
    assert db.one("SELECT name FROM who") == ann
    for table in ("workflow", "workflow_version", "run", "run_step"):
        assert as_bob.execute(f"SELECT count(*) FROM automate.{table}").fetchone()[0] == 0
        assert as_ann.execute(f"SELECT count(*) FROM automate.{table}").fetchone()[0] == 1
        with pytest.raises(errors.InsufficientPrivilege):
            as_ann.execute(f"DELETE FROM automate.{table}")
    for call in ("automate.execute_workflow('w')", f"automate.cancel_run('{run}')"):
        with pytest.raises(errors.UndefinedObject):
            as_bob.execute(f"SELECT {call}")


# --- faults ---------------------------------------------------------------------------------


def ledger(connection: psycopg.Connection[Any]) -> None:
    """500 runs of three steps, each of which writes a line that nothing keeps from being doubled."""
    tasks = [
        {f"s{i}": sql("INSERT INTO ledger SELECT $1, $2 FROM pg_sleep(0.001)",
                      "${ $workflow.id }", i, result="none")}
        for i in range(3)
    ]  # fmt: skip
    connection.execute("CREATE TABLE ledger (run text, step int)")
    connection.execute(
        "SELECT automate.create_workflow('w', %s::jsonb)", [json.dumps({"do": tasks})]
    )
    connection.execute("SELECT automate.execute_workflow('w') FROM generate_series(1, 500)")


def exactly_once(connection: psycopg.Connection[Any]) -> None:
    done = "SELECT count(*) = 500 FROM automate.run WHERE status = 'completed'"
    wait_until(connection, done, deadline=60)
    counts = connection.execute(
        "SELECT count(*), count(DISTINCT (run, step)), count(DISTINCT run) FROM ledger"
    ).fetchone()
    assert counts == (1500, 1500, 500)
    assert connection.execute("SELECT count(*) FROM automate.job").fetchone() == (0,)


def under_way(connection: psycopg.Connection[Any]) -> None:
    wait_until(connection, "SELECT count(*) BETWEEN 20 AND 1400 FROM ledger", deadline=30)


@pytest.mark.parametrize("victim", ["executor", "postmaster"])
def test_kill_9_in_the_middle(new_cluster: Any, victim: str) -> None:
    cluster = new_cluster(fsync=False)
    with cluster.connect() as connection:
        connection.execute("CREATE EXTENSION pg_automate")
        ledger(connection)
        under_way(connection)
        if victim == "executor":
            pid = connection.execute(
                "SELECT pid FROM automate.activity WHERE worker = 'executor' LIMIT 1"
            ).fetchone()
            assert pid is not None
            os.kill(pid[0], signal.SIGKILL)
            # It answers for a moment, until it has noticed.
            poll(lambda: has_gone(connection), 30, "the server has ended its sessions")
        else:
            cluster.kill9()
            cluster.start()
    poll(lambda: answers(cluster), 30, "the server takes connections again")
    with cluster.connect() as connection:
        exactly_once(connection)


def has_gone(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("SELECT true")
    except psycopg.OperationalError:
        return True
    return False


def answers(cluster: Cluster) -> bool:
    try:
        return cluster.query("SELECT true") == [(True,)]
    except psycopg.OperationalError:
        return False
