"""The processes come, go and come back: databases, extensions, roles, signals, shortages."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import pytest
from psycopg import errors

from support import jobs
from support.cluster import Cluster
from support.database import Database
from support.jobs import enqueue, failed, idle, succeeded
from support.polling import poll
from support.process import Process


def gone(pid: int, within: float = 1.0) -> float:
    """Waits until a process is gone; how long it took."""
    begun = time.monotonic()
    poll(lambda: not Process(pid).alive, within, f"process {pid} is gone")
    return time.monotonic() - begun


def sleeps(db: Database, pid: int) -> None:
    db.wait_until("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s", [pid])


@pytest.fixture
def ledger(db: Database) -> Database:
    """The database with a ledger without a unique key."""
    db.execute("CREATE TABLE ledger (job int, pid int DEFAULT pg_backend_pid(), at timestamptz DEFAULT clock_timestamp())")
    return db


def entries(db: Database) -> int:
    return db.one("SELECT count(*) FROM ledger")


# --- databases and extensions -----------------------------------------------------------------------


def test_two_databases_at_once(db: Database, cluster: Cluster) -> None:
    with cluster.connect() as connection:
        connection.execute("CREATE DATABASE second_one")
    try:
        second = Database(cluster, "second_one")
        begun = time.monotonic()
        second.execute("CREATE EXTENSION pg_automate")
        pair = [(db, enqueue(db, "SELECT 1")), (second, enqueue(second, "SELECT 1"))]
        for database, job in pair:
            succeeded(database, job, deadline=5)
        print(f"found and worked after {time.monotonic() - begun:.2f} s")
        assert jobs.worker(db, "coordinator") != jobs.worker(second, "coordinator")
        second.close()
    finally:
        with cluster.connect() as connection:
            connection.execute("DROP DATABASE second_one")


def test_drop_database_ends_what_runs(
    bare_db: Database, bare_db_2: Database, cluster: Cluster
) -> None:
    bare_db.execute("CREATE EXTENSION pg_automate")
    oid = bare_db.one("SELECT oid FROM pg_database WHERE datname = current_database()")
    enqueue(bare_db, "SELECT pg_sleep(600)")
    sleeps(bare_db, jobs.worker(bare_db, "executor", "busy"))
    bare_db.close()
    with cluster.connect() as connection:
        begun = time.monotonic()
        connection.execute(f"DROP DATABASE {bare_db.name}")
        print(f"DROP DATABASE took {time.monotonic() - begun:.2f} s")
        assert time.monotonic() - begun < 3
        left = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [bare_db.name]
        ).fetchone()
        assert left == (0,)
    # The launcher, which serves requests in their order, does not look for the one that is gone.
    bare_db_2.execute("CREATE EXTENSION pg_automate")
    jobs.worker(bare_db_2, "coordinator")
    assert f"database {oid} does not exist" not in cluster.log()


def test_a_copy_of_a_busy_database_is_paused(ledger: Database, cluster: Cluster) -> None:
    sleeper = enqueue(ledger, "SELECT pg_sleep(600)")
    sleeps(ledger, jobs.worker(ledger, "executor", "busy"))
    waiting = enqueue(ledger, "INSERT INTO ledger VALUES (1)", run_at=ledger.one("SELECT now() + interval '1 hour'"))
    ledger.close()
    copy = Database(cluster, f"{ledger.name}_copy")
    with cluster.connect() as connection:
        begun = time.monotonic()
        connection.execute(f"CREATE DATABASE {copy.name} TEMPLATE {ledger.name}")
        print(f"CREATE DATABASE took {time.monotonic() - begun:.2f} s")
    try:
        # The original goes on; the interrupted job runs again.
        sleeps(ledger, jobs.worker(ledger, "executor", "busy"))
        jobs.worker(copy, "coordinator")
        copy.execute("UPDATE automate.job SET run_at = now(), status = 'ready'")
        jobs.enqueue(copy, "SELECT 1")
        copy.execute("DELETE FROM automate.job WHERE id = %s", [sleeper])
        # Whoever were to work would have by now: a job of the original is through.
        succeeded(ledger, enqueue(ledger, "SELECT 1"))
        succeeded(ledger, enqueue(ledger, "SELECT pg_sleep(0.3)"))
        assert jobs.workers(copy, "executor") == []
        assert copy.one("SELECT count(*) FROM automate.job_history") == 0
        copy.execute("SELECT automate.resume()")
        succeeded(copy, waiting)
        assert (entries(copy), entries(ledger)) == (1, 0)
    finally:
        copy.close()
        with cluster.connect() as connection:
            connection.execute(f"DROP DATABASE {copy.name}")


def test_drop_extension_while_a_job_runs(ledger: Database) -> None:
    enqueue(ledger, "SELECT pg_sleep(600)")
    pid = jobs.worker(ledger, "executor", "busy")
    sleeps(ledger, pid)
    begun = time.monotonic()
    ledger.execute("DROP EXTENSION pg_automate")
    print(f"DROP EXTENSION took {time.monotonic() - begun:.2f} s")
    assert time.monotonic() - begun < 2
    gone(pid)
    ours = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND backend_type LIKE 'pg_automate%%'"
    ledger.wait_until(ours, [])
    ledger.execute("CREATE EXTENSION pg_automate")
    succeeded(ledger, enqueue(ledger, "INSERT INTO ledger VALUES (1)"))


def test_drop_and_create_in_a_hurry(ledger: Database) -> None:
    for n in range(15):
        job = enqueue(ledger, "INSERT INTO ledger VALUES ($1)", n)
        if n % 3 == 0:
            succeeded(ledger, job)
        begun = time.monotonic()
        ledger.execute("DROP EXTENSION pg_automate")
        ledger.execute("CREATE EXTENSION pg_automate")
        print(f"{time.monotonic() - begun:.3f} s", end=" ")
    succeeded(ledger, enqueue(ledger, "INSERT INTO ledger VALUES (99)"))
    assert ledger.one("SELECT max(n) FROM (SELECT count(*) AS n FROM ledger GROUP BY job) AS c") == 1
    poll(lambda: len(jobs.workers(ledger, "coordinator")) == 1, 5, "one coordinator")


def test_a_drop_that_is_rolled_back(ledger: Database) -> None:
    succeeded(ledger, enqueue(ledger, "SELECT 1"))
    other = ledger.connect(autocommit=False)
    other.execute("DROP EXTENSION pg_automate")
    other.rollback()
    succeeded(ledger, enqueue(ledger, "INSERT INTO ledger VALUES (1)"), deadline=5)


# --- ending single processes ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["launcher", "coordinator", "executor"])
def test_an_idle_worker_is_replaced(ledger: Database, kind: str) -> None:
    succeeded(ledger, enqueue(ledger, "SELECT 1"))
    pid = jobs.worker(ledger, kind)
    ledger.execute("SELECT pg_terminate_backend(%s)", [pid])
    print(f"{kind} gone after {gone(pid) * 1000:.0f} ms", end="; ")
    begun = time.monotonic()
    succeeded(ledger, enqueue(ledger, "INSERT INTO ledger VALUES (1)"), deadline=5)
    print(f"next job done after {time.monotonic() - begun:.3f} s")
    new = poll(lambda: [p for p in jobs.workers(ledger, kind) if p != pid], 10, f"a new {kind}")
    assert new
    assert entries(ledger) == 1


def test_a_sleeping_executor_is_ended(ledger: Database) -> None:
    ledger.execute("CREATE TABLE quick (a int)")
    job = enqueue(
        ledger,
        "INSERT INTO ledger VALUES (1); SELECT pg_sleep(CASE WHEN EXISTS (SELECT FROM quick) THEN 0 ELSE 600 END)",
    )
    pid = jobs.worker(ledger, "executor", "busy")
    sleeps(ledger, pid)
    ledger.execute("INSERT INTO quick VALUES (1)")
    ledger.execute("SELECT pg_terminate_backend(%s)", [pid])
    print(f"gone after {gone(pid) * 1000:.0f} ms")
    succeeded(ledger, job, deadline=5)
    assert ledger.rows("SELECT job, pid <> %s FROM ledger", [pid]) == [(1, True)]
    assert ledger.one("SELECT attempts FROM automate.job_history") == 1


def test_an_executor_in_vacuum_is_ended(ledger: Database) -> None:
    # A VACUUM that waits for a lock is as much in VACUUM as one that works.
    blocker = ledger.connect(autocommit=False)
    blocker.execute("LOCK TABLE ledger")
    job = enqueue(ledger, "VACUUM ledger", max_attempts=3)
    pid = jobs.worker(ledger, "executor", "busy")
    ledger.wait_until("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [pid])
    ledger.execute("SELECT pg_terminate_backend(%s)", [pid])
    print(f"gone after {gone(pid) * 1000:.0f} ms")
    # It is tried again; other work goes on meanwhile.
    succeeded(ledger, enqueue(ledger, "SELECT 1"), deadline=5)
    blocker.rollback()
    succeeded(ledger, job)


def test_a_job_that_ends_its_own_process_is_quarantined(ledger: Database) -> None:
    job = enqueue(ledger, "SELECT pg_terminate_backend(pg_backend_pid())")
    status, error = jobs.ended(ledger, job, deadline=20)
    assert status == "quarantined", error
    assert "3 times" in (error or "")
    succeeded(ledger, enqueue(ledger, "INSERT INTO ledger VALUES (1)"))


def test_a_long_job_does_not_stop_the_coordinator(ledger: Database) -> None:
    # Housekeeping raises what has waited for long: a row that the job itself has locked.
    long_ago = ledger.one("SELECT now() - interval '1 hour'")
    sleeper = enqueue(ledger, "SELECT pg_sleep(600)", run_at=long_ago)
    pid = jobs.worker(ledger, "executor", "busy")
    sleeps(ledger, pid)
    ledger.execute("SELECT pg_terminate_backend(%s)", [jobs.worker(ledger, "coordinator")])
    due = ledger.one("SELECT now() + interval '500 ms'")
    succeeded(ledger, enqueue(ledger, "INSERT INTO ledger VALUES (1)", run_at=due), deadline=5)
    ledger.execute("SELECT pg_cancel_backend(%s)", [pid])
    failed(ledger, sleeper, "57014")


# --- roles --------------------------------------------------------------------------------------------


def test_a_dropped_role_loses_its_jobs(ledger: Database, role: Callable[..., str]) -> None:
    ann = role("ann", level=None)
    mine = jobs.allow(ledger, ann)
    succeeded(ledger, enqueue(mine, "SELECT 1"))
    later = ledger.one("SELECT now() + interval '1 hour'")
    left = [enqueue(mine, "SELECT 1", run_at=later) for _ in range(3)]
    ledger.execute(f"GRANT ALL ON ledger TO {ann}")
    mine.close()
    ledger.execute(f"DROP OWNED BY {ann}; DROP ROLE {ann}")
    ledger.execute(f"CREATE ROLE {ann} LOGIN")
    for job in left:
        assert "dropped" in failed(ledger, job, "42704")
    assert ledger.one("SELECT count(*) FROM automate.job_history WHERE status = 'failed'") == 3
    # The new role of that name owns nothing, and starts afresh.
    again = jobs.allow(ledger, ann)
    ledger.execute(f"GRANT ALL ON ledger TO {ann}")
    assert again.execute("SELECT count(*) FROM automate.job_history").fetchone() == (0,)
    succeeded(ledger, enqueue(again, "INSERT INTO ledger VALUES (1)"))
    succeeded(ledger, enqueue(ledger, "SELECT 1"))


def test_a_role_that_may_not_log_in_waits(ledger: Database, role: Callable[..., str], cluster: Cluster) -> None:
    ann = role("ann", level=None)
    mine = jobs.allow(ledger, ann)
    succeeded(ledger, enqueue(mine, "SELECT 1"))
    ledger.execute(f"ALTER ROLE {ann} NOLOGIN")
    with pytest.raises(errors.InvalidAuthorizationSpecification) as refused:
        enqueue(mine, "SELECT 1")
    assert "LOGIN" in (refused.value.diag.message_hint or "")
    ledger.execute(f"ALTER ROLE {ann} LOGIN")
    job = enqueue(mine, "SELECT 1", run_at=ledger.one("SELECT now() + interval '1 day'"))
    before = len(cluster.log())
    ledger.execute(f"ALTER ROLE {ann} NOLOGIN")
    # Due now, without a clock that could run ahead of the line above; resume wakes the coordinator.
    ledger.execute("UPDATE automate.job SET run_at = now(), status = 'ready' WHERE id = %s", [job])
    ledger.execute("SELECT automate.resume()")
    why = "SELECT reason LIKE '%%LOGIN%%' FROM automate.worker_trouble WHERE role = %s::regrole"
    ledger.wait_until(why, [ann])
    for _ in range(20):
        succeeded(ledger, enqueue(ledger, "SELECT 1"))
    assert ledger.one("SELECT count(*) FROM automate.job WHERE id = %s", [job]) == 1
    said = cluster.log()[before:].count("cannot start a")
    print(f"said {said} times")
    assert said <= 2
    ledger.execute(f"ALTER ROLE {ann} LOGIN")
    succeeded(ledger, job, deadline=5)
    ledger.wait_until("SELECT count(*) = 0 FROM automate.worker_trouble")


def test_a_role_without_connections_left(ledger: Database, role: Callable[..., str]) -> None:
    # PostgreSQL does not count background workers against the limit.
    mine = jobs.allow(ledger, role("ann", level=None))
    job = enqueue(mine, "SELECT pg_sleep(0)", run_at=ledger.one("SELECT now() + interval '300 ms'"))
    ledger.execute(f"ALTER ROLE {mine.info.user} CONNECTION LIMIT 0")
    succeeded(ledger, enqueue(ledger, "SELECT 1"))
    succeeded(ledger, job)


def test_settings_of_a_role(ledger: Database, role: Callable[..., str]) -> None:
    ann = role("ann", level=None)
    mine = jobs.allow(ledger, ann)
    ledger.execute(f"GRANT ALL ON ledger TO {ann}")
    for setting in (
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "lock_timeout = '1s'",
        "row_security = off",
        "session_preload_libraries = ''",
        "client_min_messages = 'debug5'",
    ):
        ledger.execute(f"ALTER ROLE {ann} SET {setting}")
    wanted = "SELECT current_setting('transaction_read_only')"
    succeeded(ledger, enqueue(mine, wanted))
    failed(ledger, enqueue(mine, "INSERT INTO ledger VALUES (1)"), "25006")
    ledger.execute(f"ALTER ROLE {ann} RESET ALL")


# --- whole servers ------------------------------------------------------------------------------------


def server_database(server: Cluster) -> Database:
    database = Database(server, "postgres")
    database.execute("CREATE EXTENSION pg_automate")
    database.execute("CREATE TABLE ledger (job int, pid int DEFAULT pg_backend_pid())")
    return database


def test_fast_shutdown_while_a_job_sleeps(new_cluster: Callable[..., Cluster]) -> None:
    server = new_cluster(fsync=False)
    database = server_database(server)
    job = enqueue(database, "SELECT pg_sleep(600)")
    # More often than a job may crash: a shutdown is not the job's fault.
    for _ in range(4):
        sleeps(database, jobs.worker(database, "executor", "busy"))
        database.close()
        begun = time.monotonic()
        server.stop("fast")
        took = time.monotonic() - begun
        print(f"fast shutdown took {took:.2f} s")
        assert took < 3
        server.start()
    assert database.rows("SELECT id, crashes FROM automate.job") == [(job, 0)]


def test_nothing_runs_on_a_standby(new_cluster: Callable[..., Cluster]) -> None:
    primary = new_cluster(fsync=False, settings={"wal_level": "replica"})
    database = server_database(primary)
    database.execute("SELECT automate.pause()")
    job = enqueue(database, "INSERT INTO ledger VALUES (1)")
    standby = primary.standby()
    try:
        standby.start()
        standby.wait_until("SELECT EXISTS (SELECT FROM automate.job WHERE id = %s)", [job])
        assert standby.processes("pg_automate") == []
        with standby.connect() as connection, pytest.raises(psycopg.Error) as refused:
            connection.execute("SELECT automate.enqueue_sql('SELECT 1')")
        assert refused.value.sqlstate == "25006"
        primary.stop("fast")
        begun = time.monotonic()
        standby.promote()
        promoted = Database(standby, "postgres")
        promoted.wait_until("SELECT NOT pg_is_in_recovery()")
        promoted.execute("SELECT automate.resume()")
        succeeded(promoted, job)
        print(f"worked {time.monotonic() - begun:.2f} s after the promotion began")
        assert entries(promoted) == 1
        promoted.close()
    finally:
        standby.destroy()


def test_no_worker_slots(new_cluster: Callable[..., Cluster]) -> None:
    server = new_cluster(fsync=False, settings={"max_worker_processes": 3})
    # The launcher and PostgreSQL's logical replication launcher take two; one is left.
    database = server_database(server)
    jobs.worker(database, "coordinator")
    job = enqueue(database, "INSERT INTO ledger VALUES (1)")
    reason = database.wait_until("SELECT reason FROM automate.worker_trouble WHERE worker = 'executor'")
    assert "max_worker_processes" in reason
    with server.connect() as connection:
        connection.execute("CREATE DATABASE second")
    second = Database(server, "second")
    second.execute("CREATE EXTENSION pg_automate")
    reason = second.wait_until("SELECT reason FROM automate.worker_trouble WHERE worker = 'coordinator'")
    assert "max_worker_processes" in reason
    # Tried now and then, not in a loop.
    first = database.one("SELECT next_try FROM automate.worker_trouble")
    poll(lambda: database.one("SELECT next_try FROM automate.worker_trouble") != first, 10, "another try")
    assert database.one("SELECT next_try - since < interval '20 s' FROM automate.worker_trouble")
    said = server.log().count("cannot start a")
    print(f"said {said} times")
    assert said <= 3
    assert server.log().count("pg_automate coordinator") < 20
    database.close()
    second.close()
    server.configure(max_worker_processes=16)
    server.restart()
    succeeded(database, job)
    assert entries(database) == 1
    succeeded(second, enqueue(second, "SELECT 1"))
    assert database.one("SELECT count(*) FROM automate.worker_trouble") == 0
    second.close()


def test_a_long_queue_of_a_dropped_role_with_a_job_running(ledger: Database, role: Callable[..., str]) -> None:
    ann = role("ann", level=None)
    mine = jobs.allow(ledger, ann)
    running = enqueue(mine, "SELECT pg_sleep(600)")
    pid = jobs.worker(ledger, "executor", "busy")
    sleeps(ledger, pid)
    later = enqueue(mine, "SELECT 1", run_at=ledger.one("SELECT now() + interval '1 hour'"))
    mine.close()
    ledger.execute(f"DROP OWNED BY {ann}; DROP ROLE {ann}")
    # What waits is ended at once; what runs stops nobody and is ended when its process is.
    failed(ledger, later, "42704")
    succeeded(ledger, enqueue(ledger, "SELECT 1"))
    ledger.execute("SELECT pg_terminate_backend(%s)", [pid])
    gone(pid)
    failed(ledger, running, "42704")


@pytest.mark.slow
def test_prepared_transactions(new_cluster: Callable[..., Cluster]) -> None:
    server = new_cluster(fsync=False, settings={"max_prepared_transactions": 10})
    database = server_database(server)
    caller = database.connect(autocommit=False)
    job = enqueue(caller, "INSERT INTO ledger VALUES (1)")
    caller.execute("PREPARE TRANSACTION 'kept'")
    caller.rollback()
    rolled_back = enqueue(caller, "INSERT INTO ledger VALUES (2)")
    caller.execute("PREPARE TRANSACTION 'not kept'")
    caller.rollback()
    database.execute("COMMIT PREPARED 'kept'")
    database.execute("ROLLBACK PREPARED 'not kept'")
    begun = time.monotonic()
    succeeded(database, job, deadline=35)
    print(f"found after {time.monotonic() - begun:.1f} s")
    assert database.one("SELECT count(*) FROM automate.job WHERE id = %s", [rolled_back]) == 0
    assert entries(database) == 1


@pytest.mark.slow
def test_idle_costs_nothing(new_cluster: Callable[..., Cluster]) -> None:
    server = new_cluster(fsync=False, settings={"autovacuum": False})
    database = server_database(server)
    succeeded(database, enqueue(database, "INSERT INTO ledger VALUES (1)"))
    ours = server.processes("pg_automate")
    assert len(ours) == 3
    for process in ours:
        private = process.memory().private / 2**20
        print(f"{process.title}: {private:.1f} MB private")
        assert private < 40
    commits = "SELECT xact_commit + xact_rollback, clock_timestamp() FROM pg_stat_database WHERE datname = 'postgres'"
    database.close()
    with server.connect("template1") as watcher:
        # Statistics arrive up to a second late.
        watcher.execute("SELECT pg_sleep(2)")
        before, cpu = watcher.execute(commits).fetchone(), sum(p.cpu_seconds() for p in ours)
        watcher.execute("SELECT pg_sleep(10)")
        after, spent = watcher.execute(commits).fetchone(), sum(p.cpu_seconds() for p in ours) - cpu
    rate = (after[0] - before[0]) / (after[1] - before[1]).total_seconds()
    print(f"idle: {rate:.2f} transactions/s, {spent:.2f} s of CPU in 10 s")
    assert rate < 0.2
    assert spent <= 0.05


def test_without_preload_jobs_wait(new_cluster: Callable[..., Cluster]) -> None:
    server = new_cluster(preload=False, fsync=False)
    database = server_database(server)
    job = enqueue(database, "INSERT INTO ledger VALUES (1)")
    assert server.processes("pg_automate") == []
    assert database.one("SELECT count(*) FROM automate.activity") == 0
    assert database.one("SELECT count(*) FROM automate.worker_trouble") == 0
    database.close()
    server.preload = True
    server.configure()
    server.restart()
    succeeded(database, job)
    idle(database)
    assert entries(database) == 1
