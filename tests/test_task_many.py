"""A thousand tasks of fifty roles, all due at the same instants."""

from __future__ import annotations

from collections.abc import Callable

from support.cluster import Cluster
from support.database import Database

ROLES, EACH = 50, 20


def test_a_thousand_tasks_of_fifty_roles(new_cluster: Callable[..., Cluster]) -> None:
    server = new_cluster(fsync=False, settings={"max_connections": 60, "automate.max_executors": 6})
    db = Database(server, "postgres")
    db.execute("CREATE EXTENSION pg_automate")
    db.execute("CREATE TABLE ledger (task text, who name DEFAULT session_user, pid int DEFAULT pg_backend_pid())")
    for number in range(ROLES):
        db.execute(f"CREATE ROLE r{number} LOGIN")
        db.execute("SELECT automate.grant_usage(%s::regrole)", [f"r{number}"])
        db.execute(f"GRANT INSERT ON ledger TO r{number}")
        db.execute(f"SET ROLE r{number}")
        db.execute(
            "SELECT automate.schedule_task('t' || n, 'sql', '*/5 * * * * *', 'INSERT INTO ledger VALUES ($1)',"
            " jsonb_build_array('t' || n)) FROM generate_series(1, %s) AS n",
            [EACH],
        )
        db.execute("RESET ROLE")
    db.wait_until("SELECT min(run_count) >= 2 AND count(*) = %s FROM automate.task", [ROLES * EACH], deadline=180)
    db.execute("SELECT automate.pause()")
    db.execute("UPDATE automate.task SET status = 'paused'")
    db.execute("SELECT automate.resume()")
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.task_run WHERE finished_at IS NULL)", deadline=120)
    # Each by a session of its owner, none lost, none twice.
    assert db.rows("SELECT DISTINCT status FROM automate.task_run WHERE status NOT IN ('succeeded', 'skipped')") == []
    wrong = """
        SELECT * FROM (SELECT owner::text AS who, task, count(*) AS runs FROM automate.task_runs WHERE status = 'succeeded' GROUP BY 1, 2) AS r
        FULL JOIN (SELECT who::text, task, count(*) AS done FROM ledger GROUP BY 1, 2) AS l USING (who, task)
        WHERE runs IS DISTINCT FROM done"""
    assert db.rows(wrong) == []
    assert db.one("SELECT count(DISTINCT who) FROM ledger") == ROLES
    assert db.one("SELECT min(n) FROM (SELECT count(*) AS n FROM ledger GROUP BY who, task) AS runs") >= 2
    lost = db.rows(
        "SELECT task, owner FROM automate.task_runs GROUP BY 1, 2"
        " HAVING sum(instants) <> extract(epoch FROM max(coalesce(through, scheduled_at)) - min(scheduled_at)) / 5 + 1"
    )
    assert lost == []
    # A session serves one role alone.
    assert db.one("SELECT max(n) FROM (SELECT count(DISTINCT who) AS n FROM ledger GROUP BY pid) AS sessions") == 1
    db.close()
