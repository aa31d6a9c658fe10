"""How late tasks begin, and what many of them cost: the part `tasks` of run.py, with pg_cron beside it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

import quiet
from support.cluster import Cluster
from support.paths import prefix
from support.polling import poll

if TYPE_CHECKING:
    from run import Bench

MANY = 1_000
STORE = 100_000
SYSTEM = Path("/usr")
NOTE = "INSERT INTO noted (task, due) VALUES ($1, date_trunc('second', clock_timestamp()))"


def tasks(bench: Bench) -> None:
    bench.sql.execute("CREATE TABLE noted (task int, due timestamptz, at timestamptz DEFAULT clock_timestamp())")
    one(bench)
    cold(bench)
    many(bench)
    store(bench)
    cron(bench)


def one(bench: Bench) -> None:
    """One task a second; its executor is there."""
    schedule(bench, "one", "* * * * * *", NOTE, "[0]")
    bench.until("SELECT count(*) > 40 FROM noted")
    bench.sql.execute("SELECT automate.unschedule_task('one')")
    found = seconds(bench.sql.execute("SELECT at - due FROM noted ORDER BY at OFFSET 3").fetchall())
    bench.times("one task due: to its statement", found, "p50 < 3 ms")


def cold(bench: Bench) -> None:
    """One task, whose executor has left since it last ran."""
    bench.sql.execute("ALTER SYSTEM SET automate.executor_idle_timeout = '300 ms'")
    bench.cluster.reload()
    found = []
    for number in range(12):
        bench.until("SELECT NOT EXISTS (SELECT FROM automate.activity WHERE worker = 'executor')")
        due = bench.one("SELECT date_trunc('milliseconds', clock_timestamp() + '900 ms')::text")
        schedule(bench, f"cold-{number}", f"at {due}", NOTE, "[1]")
        bench.until(f"SELECT count(*) > {number} FROM noted WHERE task = 1")
        late = "SELECT max(at) - %s::timestamptz FROM noted WHERE task = 1"
        found += seconds(bench.sql.execute(late, [due]).fetchall())
    bench.sql.execute("ALTER SYSTEM RESET automate.executor_idle_timeout")
    bench.cluster.reload()
    bench.times("one task due, no executor there before", found, "")


def many(bench: Bench) -> None:
    """A thousand tasks of one role, all due at the same instants."""
    insert = "INSERT INTO noted (task) VALUES ($1)"
    bench.sql.execute(
        "SELECT count(automate.schedule_task('many-' || i, 'sql', '*/5 * * * * *', %s, jsonb_build_array(i + 10)))"
        f" FROM generate_series(1, {MANY}) AS i",
        [insert],
    )
    bench.until(f"SELECT min(run_count) > 6 FROM automate.task WHERE name LIKE 'many-%'")
    bench.sql.execute("SELECT count(automate.pause_task(name)) FROM automate.task WHERE name LIKE 'many-%'")
    bench.until("SELECT count(*) = 0 FROM automate.job")
    found = seconds(bench.sql.execute(
        "SELECT lateness FROM automate.task_runs WHERE task LIKE 'many-%' AND status = 'succeeded'"
        " AND scheduled_at > (SELECT min(scheduled_at) FROM automate.task_runs WHERE task LIKE 'many-%')"
    ).fetchall())
    skipped = bench.one("SELECT count(*) FROM automate.task_runs WHERE task LIKE 'many-%' AND status = 'skipped'")
    bench.times(f"{MANY:,} tasks due: to the start of each", found, "p50 < 20, p99 < 500 ms")
    bench.line(f"  runs, and instants left out", f"{len(found):,}, {skipped:,}", "none left out")
    bench.sql.execute("SELECT count(automate.unschedule_task(name)) FROM automate.task WHERE name LIKE 'many-%'")


def store(bench: Bench) -> None:
    """A hundred thousand tasks: made, kept, and looked through for what is due."""
    began = time.monotonic()
    bench.sql.execute(
        "SELECT count(automate.schedule_task('kept-' || i, 'sql', format('%%s %%s 1 1 *', i %% 60, i / 60 %% 24), %s,"
        f" jsonb_build_array(i))) FROM generate_series(1, {STORE}) AS i",
        [NOTE],
    )
    bench.rate(f"tasks made, {STORE:,} in one transaction", STORE, time.monotonic() - began, ">= 2,000 /s")
    bench.sql.execute("VACUUM ANALYZE automate.task")
    found = quiet.minute(bench.cluster)
    bench.line(f"idle with {STORE:,} tasks: transactions", f"{found.transactions:.2f} /s", "as without")
    bench.line(f"idle with {STORE:,} tasks: CPU", f"{found.cpu * 100:.2f} %", "as without")
    bench.sql.execute("SELECT automate.pause()")
    for number in range(5):
        due = bench.one("SELECT (clock_timestamp() + '300 ms')::text")
        schedule(bench, f"due-{number}", f"at {due}", NOTE, "[2]")
    bench.until("SELECT count(*) = 5 FROM automate.task WHERE status = 'active' AND next_run_at <= now()")
    plan = (
        "EXPLAIN (ANALYZE, FORMAT JSON) SELECT id FROM automate.task WHERE status = 'active' AND next_run_at <= now()"
        " ORDER BY next_run_at LIMIT 100 FOR UPDATE SKIP LOCKED"
    )
    bench.times("choosing the 5 that are due among them",
                [bench.one(plan)[0]["Execution Time"] / 1000 for _ in range(50)], "< 1 ms")
    began = time.monotonic()
    bench.sql.execute("SELECT * FROM automate.status()")
    bench.line("status() with them", f"{(time.monotonic() - began) * 1000:,.0f} ms")
    bench.sql.execute("SELECT automate.resume()")


def cron(bench: Bench) -> None:
    """The same of pg_cron, in a server of its own; its finest grain here is a minute."""
    if not lend_cron():
        bench.line("pg_cron", "not installed", "", "scripts/setup.sh --bench")
        return
    settings = {"shared_preload_libraries": "pg_cron", "cron.database_name": "postgres", "max_connections": 200,
                "cron.host": ""}
    with Cluster(preload=False, settings=settings) as cluster:
        settings["cron.host"] = str(cluster.socket)
        cluster.configure(**settings)
        cluster.restart()
        with cluster.connect() as session:
            session.execute("CREATE EXTENSION pg_cron")
            session.execute("CREATE TABLE noted (many bool, at timestamptz DEFAULT clock_timestamp())")
            session.execute("SELECT cron.schedule('one', '* * * * *', 'INSERT INTO noted VALUES (false)')")
            wait(session, "SELECT count(*) >= 3 FROM noted")
            session.execute("SELECT cron.unschedule('one')")
            session.execute(
                "SELECT count(cron.schedule('many-' || i, '* * * * *', 'INSERT INTO noted VALUES (true)'))"
                f" FROM generate_series(1, {MANY}) AS i"
            )
            wait(session, f"SELECT count(*) >= {MANY} FROM noted WHERE many")
            for what, many in (("pg_cron: one job due", False), (f"pg_cron: {MANY:,} jobs due", True)):
                late = "SELECT at - date_trunc('minute', at) FROM noted WHERE many = %s ORDER BY at LIMIT %s"
                bench.times(what, seconds(session.execute(late, [many, MANY]).fetchall()), "")


def lend_cron() -> bool:
    """Puts the machine's pg_cron into the private tree; False if there is none."""
    files = [*SYSTEM.glob("lib/postgresql/15/lib/pg_cron.so"), *SYSTEM.glob("share/postgresql/15/extension/pg_cron*")]
    for file in files:
        shutil.copy(file, prefix() / file.relative_to(SYSTEM))
    return bool(files)


def schedule(bench: Bench, name: str, when: str, statement: str, params: str) -> None:
    bench.sql.execute("SELECT automate.schedule_task(%s, 'sql', %s, %s, %s)", [name, when, statement, params])


def wait(session: psycopg.Connection[Any], query: str) -> None:
    poll(lambda: session.execute(query).fetchone()[0], 300, query, first_pause=0.1)  # type: ignore[index]


def seconds(rows: list[Any]) -> list[float]:
    return [late.total_seconds() for (late,) in rows]
