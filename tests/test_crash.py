"""kill -9: nothing is lost, nothing is done twice, and a job that kills is kept from killing on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psycopg
import pytest

from support import jobs
from support.cluster import Cluster
from support.database import Database
from support.jobs import enqueue, ended, succeeded
from support.polling import poll

JOBS = 300
READY = "database system is ready to accept connections"


@pytest.fixture
def server(new_cluster: Callable[..., Cluster]) -> Cluster:
    return new_cluster(settings={"log_min_messages": "info"})


@pytest.fixture
def ledger(server: Cluster) -> Database:
    database = Database(server, "postgres")
    database.execute("CREATE EXTENSION pg_automate")
    # No unique key, on purpose: what is done twice must show.
    database.execute("CREATE TABLE ledger (job int, who text DEFAULT current_user, xid xid8 DEFAULT pg_current_xact_id())")
    yield database
    database.close()


def back(database: Database, deadline: float = 30) -> None:
    """Waits until the server takes connections again."""

    def probe() -> bool:
        try:
            return database.one("SELECT true")
        except psycopg.OperationalError:
            return False

    poll(probe, deadline, "the server is back")


def fill(database: Database, statement: str) -> None:
    """Puts in the jobs in some transactions; all are acknowledged."""
    database.execute("SELECT automate.pause()")
    database.execute(
        "SELECT automate.enqueue_sql(%s, jsonb_build_array(n)) FROM generate_series(1, %s) AS n", [statement, JOBS]
    )
    database.execute("SELECT automate.resume()")


def check(database: Database) -> None:
    database.wait_until("SELECT count(*) = 0 FROM automate.job", deadline=60)
    assert database.rows("SELECT job, count(*) FROM ledger GROUP BY 1 HAVING count(*) > 1") == []
    assert database.one("SELECT count(DISTINCT job) FROM ledger") == JOBS
    assert database.rows("SELECT status, count(*) FROM automate.job_history GROUP BY 1") == [("succeeded", JOBS)]


@pytest.mark.parametrize("statement", [
    "INSERT INTO ledger SELECT $1::int FROM pg_sleep(0.005)",
    "INSERT INTO ledger SELECT $1::int",
], ids=["alone", "batched"])
def test_kill_an_executor(server: Cluster, ledger: Database, statement: str) -> None:
    fill(ledger, statement)
    for wanted in (20, 120):
        ledger.wait_until("SELECT count(*) >= %s FROM ledger", [min(wanted, JOBS)], deadline=30)
        alive = jobs.workers(ledger, "executor")
        if not alive:
            break
        starts = server.log().count(READY)
        os.kill(alive[0], signal.SIGKILL)
        begun = time.monotonic()
        poll(lambda: server.log().count(READY) > starts, 30, "the server starts again")
        back(ledger)
        print(f"server back after {time.monotonic() - begun:.1f} s")
    check(ledger)
    succeeded(ledger, enqueue(ledger, "SELECT 1"))


def test_kill_the_postmaster(server: Cluster, ledger: Database) -> None:
    fill(ledger, "INSERT INTO ledger SELECT $1::int FROM pg_sleep(0.005)")
    for wanted in (20, 120):
        ledger.wait_until("SELECT count(*) >= %s FROM ledger", [wanted], deadline=30)
        server.kill9()
        server.start()
        back(ledger)
    check(ledger)


def test_immediate_shutdown_is_no_fault_of_the_job(server: Cluster, ledger: Database) -> None:
    job = enqueue(ledger, "SELECT pg_sleep(600)")
    for _ in range(3):
        jobs.worker(ledger, "executor", "busy")
        ledger.wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        server.stop("immediate")
        server.start()
        back(ledger)
    assert ledger.rows("SELECT id, crashes FROM automate.job") == [(job, 0)]


def test_a_job_that_kills_its_process_is_quarantined(ledger: Database) -> None:
    sleeper = enqueue(ledger, "SELECT pg_sleep(600)")
    ledger.wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    # The shell's parent is the executor.
    killer = enqueue(ledger, "COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'")

    def judged() -> str | None:
        try:
            rows = ledger.rows("SELECT status FROM automate.job_history WHERE id = %s", [killer])
            return rows[0][0] if rows else None
        except psycopg.OperationalError:
            return None

    begun = time.monotonic()
    assert poll(judged, 90, "the killer is judged") == "quarantined"
    print(f"quarantined after {time.monotonic() - begun:.1f} s")
    status, error = ended(ledger, killer)
    assert "3 times" in (error or "")
    # Others run, also the one that was running each time.
    succeeded(ledger, enqueue(ledger, "INSERT INTO ledger VALUES (1)"))
    ledger.wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    assert ledger.rows("SELECT id, crashes FROM automate.job") == [(sleeper, 0)]
