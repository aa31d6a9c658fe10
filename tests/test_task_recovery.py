"""Crash and failover in the middle of runs: those of sql tasks happen exactly once, every instant is accounted for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from support import jobs
from support.cluster import Cluster
from support.database import Database
from support.polling import poll
from test_crash import READY, back

TASKS = 12


@pytest.fixture
def server(new_cluster: Callable[..., Cluster]) -> Cluster:
    return new_cluster(settings={"log_min_messages": "info"})


@pytest.fixture
def db(server: Cluster) -> Database:
    database = Database(server, "postgres")
    database.execute("CREATE EXTENSION pg_automate")
    # No unique key, on purpose: what is done twice must show.
    database.execute("CREATE TABLE ledger (task text)")
    yield database
    database.close()


def schedule(db: Database, count: int = TASKS) -> None:
    """Tasks that are due each second: short ones, which share a commit, and longer ones, which do not."""
    db.execute(
        """
        SELECT automate.schedule_task('t' || n, 'sql', '* * * * * *',
            CASE n %% 3 WHEN 0 THEN 'INSERT INTO ledger SELECT $1::text FROM pg_sleep(0.05)' ELSE 'INSERT INTO ledger VALUES ($1)' END,
            jsonb_build_array('t' || n), misfire => 'all', overlap => (ARRAY['skip', 'queue'])[1 + n %% 2])
        FROM generate_series(1, %s) AS n
        """,
        [count],
    )


def check(db: Database, count: int = TASKS) -> None:
    """Ends it all: each instant is recorded once, each run that succeeded is in the ledger once."""
    db.execute("SELECT automate.pause_task(name) FROM automate.task")
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.task_run WHERE finished_at IS NULL)", deadline=90)
    assert db.rows("SELECT DISTINCT status FROM automate.task_run WHERE status NOT IN ('succeeded', 'skipped')") == []
    rows = db.rows(
        """
        SELECT task, count(*) FILTER (WHERE status = 'succeeded'), (SELECT count(*) FROM ledger AS l WHERE l.task = r.task),
               sum(instants), extract(epoch FROM max(coalesce(through, scheduled_at)) - min(scheduled_at)) + 1
        FROM automate.task_runs AS r GROUP BY task
        """
    )
    assert len(rows) == count
    for task, succeeded, done, instants, seconds in rows:
        assert succeeded == done > 0, f"{task}: {succeeded} runs succeeded, {done} in the ledger"
        assert instants == seconds, f"{task}: {instants} of {seconds} instants are accounted for"
    assert db.one("SELECT count(*) FROM ledger") == sum(row[2] for row in rows)


def more_runs(db: Database, count: int = TASKS * 2) -> None:
    done = db.one("SELECT count(*) FROM ledger")
    db.wait_until("SELECT count(*) >= %s FROM ledger", [done + count], deadline=60)


@pytest.mark.parametrize("victim", ["executor", "coordinator"])
def test_kill_a_worker(server: Cluster, db: Database, victim: str) -> None:
    schedule(db)
    for _ in range(2):
        more_runs(db)
        starts = server.log().count(READY)
        os.kill(jobs.worker(db, victim), signal.SIGKILL)
        poll(lambda: server.log().count(READY) > starts, 30, "the server starts again")  # noqa: B023
        back(db)
    more_runs(db)
    check(db)


def test_kill_the_postmaster(server: Cluster, db: Database) -> None:
    schedule(db)
    for _ in range(2):
        more_runs(db)
        server.kill9()
        server.start()
        back(db)
    more_runs(db)
    check(db)


def test_a_top_level_run_is_interrupted_and_retried_by_policy(server: Cluster, db: Database) -> None:
    db.execute(
        """
        CREATE TABLE begun (task text);
        CREATE PROCEDURE slow(task text) LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO begun VALUES (task);
            COMMIT;
            IF (SELECT count(*) FROM begun AS b WHERE b.task = slow.task) = 1 THEN PERFORM pg_sleep(600); END IF;
        END $$
        """
    )
    for name, retries in (("once", 0), ("again", 1)):
        db.execute(
            "SELECT automate.schedule_task(%s, 'sql', '@yearly', %s, retries => %s, backoff => '100 ms')",
            [name, f"CALL slow('{name}')", retries],
        )
        db.execute("SELECT automate.execute_task(%s)", [name])
    db.wait_until("SELECT count(*) = 2 FROM begun", deadline=30)
    starts = server.log().count(READY)
    os.kill(jobs.worker(db, "executor", "busy"), signal.SIGKILL)
    poll(lambda: server.log().count(READY) > starts, 30, "the server starts again")
    back(db)
    db.wait_until("SELECT count(*) = 2 FROM automate.task_run WHERE finished_at IS NOT NULL", deadline=30)
    rows = db.rows("SELECT task, status, attempts, error LIKE '57P01: interrupted%' FROM automate.task_runs ORDER BY task")
    assert rows == [("again", "succeeded", 2, None), ("once", "interrupted", 1, True)]
    assert db.rows("SELECT task, count(*) FROM begun GROUP BY 1 ORDER BY 1") == [("again", 2), ("once", 1)]
    assert db.one("SELECT streak FROM automate.task_stats WHERE task = 'once'") == "1 failed"


def test_a_standby_takes_over_in_the_middle(server: Cluster, db: Database) -> None:
    schedule(db)
    more_runs(db)
    standby = server.standby()
    try:
        standby.start()
        other = Database(standby, "postgres")
        other.wait_until("SELECT count(*) > 0 FROM ledger", deadline=30)
        # A standby does nothing by itself.
        assert jobs.workers(other, "coordinator") == []
        more_runs(db)
        server.kill9()
        before = other.one("SELECT count(*) FROM ledger")
        standby.promote()
        # It is the same database, so it works at once.
        other.wait_until("SELECT count(*) > %s FROM ledger", [before + TASKS], deadline=60)
        check(other)
        other.close()
    finally:
        standby.destroy()
