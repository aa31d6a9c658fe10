"""Branches side by side: forks, parallel loops, timers, compensation, and who comes first."""

from __future__ import annotations

from typing import Any

from support.database import Database
from test_workflows import create, end, no_jobs, sql, start, steps

LEDGER = "CREATE TABLE ledger (n int GENERATED ALWAYS AS IDENTITY, who text, pid int DEFAULT pg_backend_pid(), xid xid8 DEFAULT pg_current_xact_id())"

WAITING = "WITH i AS (INSERT INTO ledger (who) VALUES ($2)) SELECT pg_advisory_xact_lock_shared($1::int)"
WAITERS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def names(db: Database, order: str = "who") -> list[str]:
    return [row[0] for row in db.rows(f"SELECT who FROM ledger ORDER BY {order}")]


def put(who: str) -> dict[str, Any]:
    return sql("INSERT INTO ledger (who) VALUES ($1)", who, result="none")


def fork(*branches: dict[str, Any], **more: object) -> dict[str, Any]:
    named = [{f"b{i}": branch} for i, branch in enumerate(branches)]
    return {"f": {"fork": {"branches": named, **more}}}


def test_branches_of_a_fork_are_all_done_once(db: Database) -> None:
    db.execute(LEDGER)
    create(db, "f", fork(*[put(f"b{i}") for i in range(20)]), put("after"))
    for _ in range(2):
        status, output, error = end(db, start(db, "f"))
        assert (status, error) == ("completed", None)
        assert db.one("SELECT count(*) FROM ledger") == 21
        assert db.one("SELECT who FROM ledger ORDER BY n DESC LIMIT 1") == "after"
        db.execute("TRUNCATE ledger")
    no_jobs(db)


def test_the_output_of_a_fork_is_that_of_its_branches_in_order(db: Database) -> None:
    create(db, "f", fork(*[sql("SELECT $1::int AS n", i, result="scalar") for i in range(5)]))
    assert end(db, start(db, "f"))[1] == [0, 1, 2, 3, 4]


def test_long_branches_go_on_at_the_same_time(db: Database) -> None:
    db.execute(LEDGER)
    create(db, "f", fork(*[sql(WAITING, 42, who, result="none") for who in ("a", "b")]))
    gate = db.connect()
    gate.execute("SELECT pg_advisory_lock(42)")
    run = start(db, "f")
    db.wait_until(f"SELECT count(DISTINCT pid) = 2 FROM ({WAITERS}) AS w")
    gate.execute("SELECT pg_advisory_unlock(42)")
    assert end(db, run)[0] == "completed"
    assert names(db) == ["a", "b"]
    no_jobs(db)


def test_the_first_wins_where_branches_compete(db: Database) -> None:
    db.execute(LEDGER)
    slow = {"do": [{"w": {"wait": {"hours": 1}}}, {"late": put("late")}]}
    create(db, "f", fork(slow, sql("SELECT 7 AS n", result="scalar"), compete=True), put("after"))
    run = start(db, "f")
    assert end(db, run)[0] == "completed"
    assert names(db) == ["after"]
    assert ("w", 1, "cancelled") in steps(db, run)
    no_jobs(db)


def test_a_branch_that_fails_undoes_the_step_of_another(db: Database) -> None:
    """The withdrawn step is still being done: its effects must not stay."""
    db.execute(LEDGER)
    fails = {"do": [{"until": sql("SELECT pg_advisory_xact_lock_shared(43)", result="none")},
                    {"bad": {"raise": {"error": {"type": "https://example.com/bad", "status": 400}}}}]}
    create(db, "f", fork(sql(WAITING, 42, "long", result="none"), fails))
    gate = db.connect()
    gate.execute("SELECT pg_advisory_lock(42), pg_advisory_lock(43)")
    run = start(db, "f")
    db.wait_until(f"SELECT count(DISTINCT pid) = 2 FROM ({WAITERS}) AS w")
    gate.execute("SELECT pg_advisory_unlock(43)")
    status, _, error = end(db, run)
    assert (status, error["type"]) == ("faulted", "https://example.com/bad")
    gate.execute("SELECT pg_advisory_unlock(42)")
    no_jobs(db)
    assert db.one("SELECT count(*) FROM ledger") == 0


def test_a_parallel_loop_does_each_item_once(db: Database) -> None:
    db.execute("CREATE TABLE done (n int)")
    loop = {
        "for": {"each": "item", "in": ".items"},
        "metadata": {"maxParallel": 8, "collect": "."},
        "do": [{"one": sql("INSERT INTO done VALUES ($1) RETURNING n * 2 AS m", "${ $item }", result="scalar")}],
    }
    create(db, "p", loop)
    status, output, _ = end(db, start(db, "p", {"items": list(range(100))}))
    assert (status, output) == ("completed", [2 * n for n in range(100)])
    assert [row[0] for row in db.rows("SELECT n FROM done ORDER BY n")] == list(range(100))
    no_jobs(db)


def test_the_items_of_a_large_loop_are_kept_outside_of_the_state(db: Database) -> None:
    db.execute("CREATE TABLE done (n int)")
    loop = {
        "for": {"each": "item", "in": "[range(5000)]"},
        "metadata": {"maxParallel": 50},
        "do": [{"one": sql("INSERT INTO done VALUES ($1)", "${ $item }", result="none")}],
    }
    create(db, "p", loop)
    run = start(db, "p")
    db.wait_until("SELECT count(*) > 1000 FROM done", deadline=60)
    size = db.one("SELECT coalesce(max(pg_column_size(state)), 0) FROM automate.run WHERE id = %s", [run])
    assert size < 60_000
    status, output, error = end(db, run, 60)
    assert (status, output, error) == ("completed", {"count": 5000, "completed": 5000, "failed": 0}, None)
    assert db.one("SELECT count(*) = 5000 AND count(DISTINCT n) = 5000 FROM done")
    assert db.one("SELECT NOT EXISTS (SELECT FROM automate.run_item)")
    no_jobs(db)


def test_timers_of_branches_fire_each_in_its_time(db: Database) -> None:
    create(
        db, "t",
        fork(*[{"wait": {"milliseconds": 10 * n}} for n in range(1, 6)], {"wait": {"hours": 1}}, compete=False),
    )
    run = start(db, "t")
    db.wait_until("SELECT count(*) = 5 FROM automate.run_step WHERE run = %s AND status = 'completed'", [run])
    assert db.one("SELECT status FROM automate.run WHERE id = %s", [run]) == "waiting"
    db.execute("SELECT automate.cancel_run(%s)", [run])
    assert end(db, run)[0] == "cancelled"
    no_jobs(db)


def test_the_time_of_a_task_ends_the_statement_in_it(db: Database) -> None:
    body = {"do": [{"sleep": sql("SELECT pg_sleep(600)")}], "timeout": {"after": {"milliseconds": 200}}}
    create(db, "t", body)
    status, _, error = end(db, start(db, "t"))
    assert (status, error["type"].rsplit("/", 1)[1]) == ("faulted", "timeout")
    no_jobs(db)


def test_what_was_done_is_undone_in_reverse_order(db: Database) -> None:
    db.execute(LEDGER)

    def step(name: str) -> dict[str, Any]:
        return {**put(name), "metadata": {"compensate": [{f"undo_{name}": put(f"undo {name}")}]}}

    create(
        db, "saga", {"a": step("a")}, {"b": step("b")},
        {"bad": {"raise": {"error": {"type": "https://example.com/bad", "status": 400}}}},
    )
    run = start(db, "saga")
    status, _, error = end(db, run)
    assert (status, error["type"]) == ("faulted", "https://example.com/bad")
    assert names(db, "n") == ["a", "b", "undo b", "undo a"]
    no_jobs(db)


def test_an_open_transaction_that_cancels_holds_up_nobody(db: Database) -> None:
    db.execute(LEDGER)
    create(db, "w", {"pause": {"wait": {"milliseconds": 100}}}, put("after"))
    run = start(db, "w")
    other = db.connect(autocommit=False)
    other.execute("SELECT automate.cancel_run(%s)", [run])
    assert end(db, run)[0] == "completed"
    other.commit()
    no_jobs(db)
    assert names(db) == ["after"]


def test_a_step_waits_for_a_report(db: Database) -> None:
    db.execute(
        """SELECT automate.create_report('r', '{"title": "R", "params": {"n": {"type": "int"}},
            "datasets": {"d": {"sql": "SELECT generate_series(1, $n) AS n"}}, "layout": [{"table": {"data": "d"}}]}')"""
    )
    report = {"call": "report", "with": {"name": "r", "format": "csv", "params": {"n": "${ .n }"}}}
    text = sql("SELECT convert_from(automate.report_file($1::uuid, 'csv'), 'utf8') AS t", "${ .report_run }", result="scalar")
    create(db, "w", {"make": report}, {"read": text})
    status, output, error = end(db, start(db, "w", {"n": 3}))
    assert (status, error) == ("completed", None)
    assert output.split() == ['"n"', "1", "2", "3"]
    status, _, error = end(db, start(db, "w", {"n": "none"}))
    assert (status, error["instance"]) == ("faulted", "/do/0/make")
    no_jobs(db)


def test_many_sessions_and_one_join(db: Database) -> None:
    """Steps of one run end at the same time in several sessions, again and again."""
    db.execute(LEDGER)
    step = "WITH i AS (INSERT INTO ledger (who) VALUES ($1)) SELECT pg_sleep(random() * 0.02)"
    create(db, "f", fork(*[sql(f"{step} -- {i}", f"b{i}", result="none") for i in range(8)]), put("after"))
    runs = [start(db, "f") for _ in range(25)]
    for run in runs:
        assert end(db, run, 60)[0] == "completed"
    assert db.one("SELECT count(*) FROM ledger") == 25 * 9
    assert db.rows("SELECT who, count(*) FROM ledger GROUP BY who HAVING count(*) <> 25") == []
    no_jobs(db)


def test_cancel_against_complete(db: Database) -> None:
    """A run that is cancelled while it ends does one or the other, and nothing by half."""
    db.execute(LEDGER)
    create(db, "f", fork(*[sql("WITH i AS (INSERT INTO ledger (who) VALUES ($1)) SELECT pg_sleep(0.005)",
                               "${ $workflow.id }", result="none") for _ in range(3)]))
    runs = []
    for _ in range(40):
        runs.append(start(db, "f"))
        db.execute("SELECT automate.cancel_run(%s)", [runs[-2 if len(runs) > 1 else -1]])
    for run in runs:
        assert end(db, run, 60)[0] in ("completed", "cancelled")
    no_jobs(db)
    # A step is in the ledger if and only if the run's record says that it was done.
    assert db.rows(
        "SELECT s.run, count(*) FROM automate.run_step AS s WHERE name LIKE 'b%%' AND status = 'completed' GROUP BY 1"
        " EXCEPT SELECT who::uuid, count(*) FROM ledger GROUP BY 1") == []
    assert db.rows(
        "SELECT who::uuid, count(*) FROM ledger GROUP BY 1 EXCEPT SELECT s.run, count(*) FROM automate.run_step AS s"
        " WHERE name LIKE 'b%%' AND status = 'completed' GROUP BY 1") == []
    assert {row[0] for row in db.rows("SELECT DISTINCT status FROM automate.run")} <= {"completed", "cancelled"}


def test_the_timer_of_a_branch_is_none_of_its_brothers(db: Database) -> None:
    slow = sql("SELECT pg_sleep(0.3)", result="none")
    create(db, "f", fork({"wait": {"milliseconds": 20}}, slow, sql("SELECT 1 AS n", result="scalar")))
    for _ in range(3):
        assert end(db, start(db, "f"))[0] == "completed"


def test_short_steps_side_by_side_in_sessions_that_do_not_know_them(db: Database) -> None:
    """What one session leaves to do, another hands out: it has not seen that the steps are short."""
    db.execute(LEDGER)
    step = sql("WITH i AS (INSERT INTO ledger (who) VALUES ($1)) SELECT pg_sleep(0.001)", "${ $workflow.id }", result="none")
    create(db, "f", fork(*[step] * 30))
    runs = [start(db, "f") for _ in range(20)]
    for run in runs:
        assert end(db, run, 60)[0] == "completed"
    assert db.rows("SELECT count(*), count(DISTINCT who) FROM ledger") == [(600, 20)]
    assert db.one("SELECT count(*) FROM automate.run_step WHERE status <> 'completed'") == 0
    no_jobs(db)
