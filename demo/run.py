#!/usr/bin/env python3
"""The main job on real flights: run.py [DAYS]. Ends with what was done beside what should be."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psycopg

import place
import received
from flights import MISSING, Flights, Row, departs, values
from screen import Progress, note, result_table, step

from support import paths
from support.cluster import Cluster, free_port
from support.polling import poll

HERE = Path(__file__).resolve().parent
SMALL_TABLES = ("airlines", "airports", "planes", "weather")
# Flights planned before this hour come by COPY, the others by INSERT.
NOON = 12
# Seconds without any progress after which waiting is given up.
PATIENCE = 60

Connection = psycopg.Connection[Any]


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 31
    if not 1 <= count <= 365:
        print("error: DAYS must be 1 to 365", file=sys.stderr)
        return 2
    began = time.monotonic()

    step("1. Starting over: a private PostgreSQL 15, a mail server, a web server")
    if place.stop():
        note("the previous demo is stopped")
    ports = place.start_peers()
    note(f"mail on 127.0.0.1:{ports['smtp']}, web on 127.0.0.1:{ports['http']}")
    cluster = start_server()
    note(f"server in {cluster.base}")

    step(f"2. The flights that left New York in 2013 ({count} days)")
    data = Flights(paths.cache_dir())
    data.fetch()
    days = list(data.days(count))
    note(f"{sum(len(rows) for _, rows in days):,} flights in {data.archive.name}")

    step("3. The airline's tables, and all of the automation (demo/automation.sql)")
    psql(cluster, (HERE / "schema.sql").read_text())
    psql(cluster, (HERE / "automation.sql").read_text(), smtp_port=ports["smtp"], http_port=ports["http"])
    with cluster.connect(place.DATABASE, place.ROLE) as connection:
        load_small_tables(connection, data, days)

        step("4. The year begins: flights come in by COPY and INSERT, the rules fire")
        load_days(connection, days)

        step("5. Waiting for the workflows")
        wait_for_runs(connection)

        step("6. The tasks, now and not only on their schedule")
        report_rows = run_tasks(connection)

        step("7. What the automation did, and what plain SQL says it should have done")
        home = place.folder() / "peers"
        equal = compare(connection, home, report_rows)

    print_end(cluster, home, time.monotonic() - began)
    if not equal:
        print("\nerror: the automation did not do what it should have done", file=sys.stderr)
        print(f"hint: see the server's log, {cluster.log_file}, and automate.job_history", file=sys.stderr)
    return 0 if equal else 1


def start_server() -> Cluster:
    """A fresh server with the demo's database, owned by an ordinary role."""
    settings: dict[str, object] = {"automate.network_allow": "127.0.0.1"}
    cluster = Cluster(place.folder() / "server", port=free_port(), settings=settings)
    cluster.create().start()
    cluster.psql(f"CREATE ROLE {place.ROLE} LOGIN")
    cluster.psql(f"CREATE DATABASE {place.DATABASE} OWNER {place.ROLE}")
    cluster.psql(
        f"""
        CREATE EXTENSION pg_automate;
        SELECT automate.grant_usage('{place.ROLE}', 'user');
        SELECT automate.grant_usage('{place.ROLE}', 'network');
        """,
        place.DATABASE,
    )
    return cluster


def psql(cluster: Cluster, text: str, **variables: int) -> None:
    """Runs SQL as the airline; ends the demo with psql's own words if it fails."""
    settings = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
    done = cluster.run(
        "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *settings, "-d", place.DATABASE,
        "-U", place.ROLE, "-1", "-f", "-", check=False, input=text,
    )
    if done.returncode:
        raise SystemExit(f"\nerror: the demo's SQL failed\n{done.stderr}")


def load_small_tables(connection: Connection, data: Flights, days: list[tuple[date, list[Row]]]) -> None:
    """Airlines, airports, planes, weather; and the timetable, which is known in advance."""
    with connection.transaction(), connection.cursor() as cursor:
        for name in SMALL_TABLES:
            with copy(cursor, f"COPY {name} FROM STDIN (FORMAT csv, NULL '{MISSING}')") as target:
                target.write(data.table(name))
        with copy(cursor, "COPY timetable FROM STDIN") as target:
            for row in (row for _, rows in days for row in rows):
                target.write_row((row[0], row[10], row[11], row[13], row[14], departs(row)))
    connection.execute("ANALYZE")
    note("timetable, airlines, airports, planes and weather are loaded")


@contextmanager
def copy(cursor: psycopg.Cursor[Any], statement: str) -> Iterator[psycopg.Copy]:
    with cursor.copy(statement) as target:  # type: ignore[call-overload]
        yield target


def load_days(connection: Connection, days: list[tuple[date, list[Row]]]) -> None:
    """Day by day: the morning as one COPY, the rest as INSERTs, each its own transaction."""
    progress = Progress(len(days))
    insert = f"INSERT INTO flights VALUES ({', '.join(['%s'] * 20)})"
    loaded = 0
    for number, (day, rows) in enumerate(days, start=1):
        morning = [row for row in rows if int(row[17]) < NOON]
        later = [row for row in rows if int(row[17]) >= NOON]
        with connection.transaction(), connection.cursor() as cursor:
            with copy(cursor, "COPY flights FROM STDIN") as target:
                for row in morning:
                    target.write_row(values(row))
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(insert, [values(row) for row in later])
        loaded += len(rows)
        progress.show(number, f"{day}: {loaded:,} flights, {runs_text(connection)}")
    progress.end()


def runs_text(connection: Connection) -> str:
    done, total = run_counts(connection)
    return f"{done:,} of {total:,} workflow runs done"


def run_counts(connection: Connection) -> tuple[int, int]:
    """Runs that ended, and all runs."""
    row = connection.execute(
        """
        SELECT count(*) FILTER (WHERE status IN ('completed', 'faulted', 'cancelled')), count(*)
        FROM automate.run
        """
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def open_work(connection: Connection) -> int:
    """What is still to do: runs that have not ended and jobs of any kind."""
    row = connection.execute(
        """
        SELECT (SELECT count(*) FROM automate.run
                WHERE status NOT IN ('completed', 'faulted', 'cancelled'))
             + (SELECT count(*) FROM automate.job)
        """
    ).fetchone()
    assert row is not None
    return int(row[0])


def wait_for_runs(connection: Connection) -> None:
    """Until nothing is left to do; gives up when nothing moves any more."""
    progress = Progress(run_counts(connection)[1])
    state = {"left": -1, "moved": time.monotonic()}

    def finished() -> bool:
        left = open_work(connection)
        done, total = run_counts(connection)
        progress.show(done, f"{done:,} of {total:,} workflow runs done, {left:,} pieces of work left")
        if left != state["left"]:
            state.update(left=left, moved=time.monotonic())
        return left == 0 or time.monotonic() - state["moved"] > PATIENCE

    poll(finished, 3600, "the workflows end", first_pause=0.05)
    progress.end()
    if state["left"]:
        note(f"giving up: {state['left']} pieces of work did not move for {PATIENCE} s")


def run_tasks(connection: Connection) -> int:
    """Rollup and report by hand; gives the rows of the report's CSV."""
    for task in ("rollup", "daily-report"):
        connection.execute("SELECT automate.execute_task(%s)", [task])
        wait_for_runs(connection)
        note(f"task {task} ran")
    row = connection.execute("SELECT automate.run_report('operations', formats => '{csv}')").fetchone()
    assert row is not None
    query = "SELECT automate.report_file(id, 'csv') FROM automate.report_run WHERE id = %s AND status = 'completed'"

    def file() -> bytes | None:
        found = connection.execute(query, row).fetchone()
        return bytes(found[0]) if found else None

    csv = poll(file, 30, "the report is rendered")
    print()
    text = connection.execute("SELECT automate.report_text('operations')").fetchone()
    print("\n".join("  " + line for line in str(text[0] if text else "").splitlines()))
    return len(csv.decode("utf-8-sig").strip().splitlines()) - 1


def compare(connection: Connection, home: Path, report_rows: int) -> bool:
    """Prints the result table; true if everything is equal."""
    with connection.transaction():
        connection.execute(
            """
            CREATE TEMP TABLE received_mail (message_id text, subject text, attachments text[]) ON COMMIT DROP;
            CREATE TEMP TABLE received_hook (path text, key text, flight_id bigint) ON COMMIT DROP
            """
        )
        with connection.cursor() as cursor:
            with copy(cursor, "COPY received_mail FROM STDIN") as target:
                for mail in received.mails(home):
                    target.write_row((mail.message_id, mail.subject, mail.attachments))
            with copy(cursor, "COPY received_hook FROM STDIN") as target:
                for hook in received.hooks(home):
                    target.write_row((hook.path, hook.key, hook.flight_id))
        query = (HERE / "compare.sql").read_text().replace(":report_rows", str(report_rows))
        rows = connection.execute(query).fetchall()  # type: ignore[arg-type]
    return result_table([(str(what), int(did), int(should)) for what, did, should in rows])


def print_end(cluster: Cluster, home: Path, seconds: float) -> None:
    print(
        f"""
Done in {seconds:.0f} s. The server goes on; look around with

  {cluster.psql_line(place.DATABASE)}

  SELECT * FROM automate.status();
  SELECT workflow, status, count(*) FROM automate.run GROUP BY 1, 2;

The mails are in {home}/mails. Stop everything with: make demo-stop"""
    )


if __name__ == "__main__":
    sys.exit(main())
