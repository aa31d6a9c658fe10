"""Suspending, going on, trying again, waiting for the end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg import errors

from support.database import Database
from test_workflows import create, end, no_jobs, sql, start, steps


def put(what: str) -> dict[str, Any]:
    return sql("INSERT INTO ledger (what) VALUES ($1)", what, result="none")


@pytest.fixture
def ledger(db: Database) -> Database:
    db.execute("CREATE TABLE ledger (n int GENERATED ALWAYS AS IDENTITY, what text)")
    return db


def names(db: Database) -> list[str]:
    return [row[0] for row in db.rows("SELECT what FROM ledger ORDER BY n")]


def status(db: Database, run: str) -> str:
    return str(db.one("SELECT status FROM automate.run WHERE id = %s", [run]))


def test_a_suspended_run_begins_nothing(ledger: Database) -> None:
    create(ledger, "w", {"pause": {"wait": {"milliseconds": 100}}}, put("after"))
    run = start(ledger, "w")
    assert ledger.one("SELECT automate.suspend_run(%s)", [run]) is True
    ledger.wait_until("SELECT status = 'suspended' FROM automate.run WHERE id = %s", [run])
    ledger.wait_until("SELECT created_at < now() - interval '300 ms' FROM automate.run WHERE id = %s", [run])
    assert (status(ledger, run), names(ledger)) == ("suspended", [])
    assert ledger.one("SELECT status FROM automate.job WHERE id = %s", [run]) == "waiting"
    assert ledger.one("SELECT automate.resume_run(%s)", [run]) is True
    assert end(ledger, run)[0] == "completed"
    assert names(ledger) == ["after"]
    assert ledger.one("SELECT automate.suspend_run(%s)", [run]) is False
    no_jobs(ledger)


def test_a_suspended_run_can_be_cancelled(ledger: Database) -> None:
    create(ledger, "w", {"pause": {"wait": {"hours": 1}}})
    run = start(ledger, "w")
    ledger.execute("SELECT automate.suspend_run(%s)", [run])
    ledger.wait_until("SELECT status = 'suspended' FROM automate.run WHERE id = %s", [run])
    ledger.execute("SELECT automate.cancel_run(%s)", [run])
    assert end(ledger, run)[0] == "cancelled"
    no_jobs(ledger)


def test_cancelling_undoes_what_was_done(ledger: Database) -> None:
    done = {**put("done"), "metadata": {"compensate": [{"undo": put("undone")}]}}
    create(ledger, "w", {"a": done}, {"pause": {"wait": {"hours": 1}}})
    for compensate, expected in ((False, ["done"]), (True, ["done", "undone"])):
        ledger.execute("TRUNCATE ledger")
        run = start(ledger, "w")
        ledger.wait_until("SELECT status = 'waiting' FROM automate.run WHERE id = %s", [run])
        ledger.execute("SELECT automate.cancel_run(%s, %s)", [run, compensate])
        assert end(ledger, run)[0] == "cancelled"
        assert names(ledger) == expected
    no_jobs(ledger)


def test_a_faulted_run_goes_on_from_the_step_that_failed(ledger: Database) -> None:
    create(ledger, "w", {"a": {**put("a"), "output": {"as": "{d: 0}"}}}, {"b": sql("SELECT 1 / $1::int AS n", "${ .d }", result="scalar")}, {"c": put("c")})
    run = start(ledger, "w")
    assert end(ledger, run)[0] == "faulted"
    ledger.execute("SELECT automate.retry_run(%s)", [run])
    assert end(ledger, run)[2]["title"] == "SQL error 22012"
    ledger.execute("SELECT automate.retry_run(%s, patch => '{\"d\": 2}')", [run])
    assert end(ledger, run)[0] == "completed"
    assert names(ledger) == ["a", "c"]
    assert [s for s in steps(ledger, run) if s[0] == "b"] == [("b", 1, "faulted"), ("b", 2, "faulted"), ("b", 3, "completed")]
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="has not failed"):
        ledger.execute("SELECT automate.retry_run(%s)", [run])
    no_jobs(ledger)


def test_an_earlier_step_is_gone_back_to(ledger: Database) -> None:
    create(ledger, "w", {"a": put("a")}, {"b": put("b")}, {"bad": sql("SELECT 1 / 0")})
    run = start(ledger, "w")
    assert end(ledger, run)[0] == "faulted"
    ledger.execute("SELECT automate.retry_run(%s, 'b')", [run])
    assert end(ledger, run)[0] == "faulted"
    assert names(ledger) == ["a", "b", "b"]
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as caught:
        ledger.execute("SELECT automate.retry_run(%s, 'nope')", [run])
    assert "from_step" in str(caught.value.diag.message_detail)


def test_many_are_tried_again_by_the_type_of_their_error(ledger: Database) -> None:
    ledger.execute("CREATE TABLE need (a int)")
    create(ledger, "w", sql("SELECT a FROM need", expect="one"))
    create(ledger, "x", sql("SELECT 1 / 0"))
    runs = [start(ledger, "w") for _ in range(5)] + [start(ledger, "x")]
    for run in runs:
        assert end(ledger, run)[0] == "faulted"
    ledger.execute("INSERT INTO need VALUES (1)")
    assert ledger.one("SELECT automate.retry_runs('w', 'timeout')") == 0
    assert ledger.one("SELECT automate.retry_runs('w', 'validation')") == 5
    for run in runs[:5]:
        assert end(ledger, run)[0] == "completed"
    assert status(ledger, runs[5]) == "faulted"
    no_jobs(ledger)


def test_what_was_undone_is_not_tried_again(ledger: Database) -> None:
    done = {**put("done"), "metadata": {"compensate": [{"undo": put("undone")}]}}
    create(ledger, "w", {"a": done}, {"bad": sql("SELECT 1 / 0")})
    run = start(ledger, "w")
    assert end(ledger, run)[0] == "faulted"
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="cannot be tried again") as caught:
        ledger.execute("SELECT automate.retry_run(%s)", [run])
    assert "undone" in str(caught.value.diag.message_detail)


def test_waiting_for_the_end_of_a_run(ledger: Database) -> None:
    create(ledger, "w", {"pause": {"wait": {"milliseconds": 50}}}, {"n": sql("SELECT 7 AS n", result="scalar")})
    run = start(ledger, "w")
    assert ledger.rows("SELECT * FROM automate.wait_for_run(%s)", [run]) == [("completed", 7, None)]
    create(ledger, "slow", {"pause": {"wait": {"hours": 1}}})
    run = start(ledger, "slow")
    with pytest.raises(errors.LockNotAvailable, match="has not ended"):
        ledger.execute("SELECT * FROM automate.wait_for_run(%s, '50 ms')", [run])
    with ledger.admin.transaction(), pytest.raises(errors.InvalidTransactionState) as caught:
        mine = ledger.one("SELECT automate.execute_workflow('slow')")
        ledger.execute("SELECT * FROM automate.wait_for_run(%s)", [mine])
    assert "COMMIT" in str(caught.value.diag.message_hint)


def test_runs_of_others_are_out_of_reach(ledger: Database) -> None:
    create(ledger, "w", {"pause": {"wait": {"hours": 1}}})
    run = start(ledger, "w")
    ledger.execute("CREATE ROLE eve LOGIN; SELECT automate.grant_usage('eve', 'user')")
    eve = ledger.connect("eve")
    for call in ("suspend_run(%s)", "resume_run(%s)", "cancel_run(%s, true)", "retry_run(%s)",
                 "signal_run(%s, 'go')", "wait_for_run(%s)"):
        with pytest.raises(errors.UndefinedObject, match="does not exist"):
            eve.execute(f"SELECT automate.{call}", [run])
    assert json.dumps(status(ledger, run)) in ('"waiting"', '"pending"', '"running"')
