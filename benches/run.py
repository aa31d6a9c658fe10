#!/usr/bin/env python3
"""Measures pg_automate beside the limits of the machine, in the same run: run.py [PART ...].

The last column is the ratio to a limit that the run itself measured: commits of single rows, the
same without us, or the sender alone without a database.

A private server with PostgreSQL's own durability settings. Each part prints one line or more;
a part that fails is said so and the others go on. Figures need an otherwise idle machine.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import quiet  # noqa: E402
from rules import rules  # noqa: E402
from support.cluster import Cluster, free_port  # noqa: E402
from support.http import HttpServer  # noqa: E402
from support.polling import poll  # noqa: E402
from support.smtp import SmtpServer  # noqa: E402
from tasks import tasks  # noqa: E402
from workflows import workflows  # noqa: E402

Connection = psycopg.Connection[Any]
SETTINGS: dict[str, object] = {"automate.network_allow": "127.0.0.1", "automate.max_executors": 1}
NGINX = """
daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path {home}/body; keepalive_requests 1000000;
  server {{ listen 127.0.0.1:{port}; location / {{ return 204; }} }} }}
"""


class Bench:
    """The server under test, an open superuser connection, and the lines found so far."""

    def __init__(self, cluster: Cluster, connection: Connection) -> None:
        self.cluster = cluster
        self.sql = connection
        self.commits = 0.0

    def one(self, text: str, *params: Any) -> Any:
        row = self.sql.execute(text, params or None).fetchone()
        return row[0] if row else None

    def line(self, what: str, figure: str, target: str = "", limit: str = "") -> None:
        print(f"  {what:<46} {figure:>20}   {target:<24} {limit}", flush=True)

    def rate(self, what: str, count: int, seconds: float, target: str, limit: str = "") -> None:
        self.line(what, f"{count / seconds:,.0f} /s", target, limit or self.commits_of(count / seconds))

    def commits_of(self, rate: float) -> str:
        """A rate as a multiple of the commits of single rows."""
        return f"{rate / self.commits:.1f} x commits" if self.commits else ""

    def times(self, what: str, seconds: list[float], target: str) -> None:
        ordered = sorted(seconds)
        middle = statistics.median(ordered)
        late = ordered[int(len(ordered) * 0.99)]
        ratio = f"{middle * self.commits:.1f} x the time of a commit" if self.commits else ""
        self.line(what, f"p50 {middle * 1000:.2f} p99 {late * 1000:.2f} ms", target, ratio)

    def alone(self, *args: object) -> float:
        """Requests per second of the sender alone (sender/examples/bench.rs)."""
        program = Path(os.environ["CARGO_TARGET_DIR"], "release/examples/bench")
        done = subprocess.run([program, *map(str, args)], capture_output=True, text=True, check=True)
        found = re.search(r": (\d+)/s", done.stdout)
        assert found is not None, done.stdout
        return float(found.group(1))

    def until(self, text: str, deadline: float = 300) -> None:
        poll(lambda: self.one(text), deadline, text, first_pause=0.01)


def limits(bench: Bench) -> None:
    """Single-row commits of one client: the limit of everything that commits each time."""
    bench.sql.execute("CREATE TABLE plain (a int)")
    script = bench.cluster.base / "insert.sql"
    script.write_text("INSERT INTO plain VALUES (1);\n")
    done = bench.cluster.run(
        "pgbench", "-n", "-M", "prepared", "-T", "5", "-f", script, "-U", "postgres", "bench"
    )
    found = next(line for line in done.stdout.splitlines() if line.startswith("tps"))
    bench.commits = float(found.split()[2])
    bench.line("limit: single-row commits, one client", f"{bench.commits:,.0f} /s")


def latency(bench: Bench) -> None:
    """From just before COMMIT to the effect, with a resident executor."""
    bench.sql.execute("CREATE TABLE effect (n int, at timestamptz)")
    statement = "INSERT INTO effect VALUES ($1, clock_timestamp())"
    found = []
    for number in range(600):
        with bench.sql.transaction():
            bench.one("SELECT automate.enqueue_sql(%s, jsonb_build_array(%s::int))", statement, number)
            before = time.time()
        query = f"SELECT extract(epoch FROM at)::float8 FROM effect WHERE n = {number}"
        found.append(poll(lambda: bench.one(query), 10, query, first_pause=0.001) - before)  # noqa: B023
    # The first ones start the executor.
    bench.times("commit to effect of a SQL action", found[100:], "p50 < 1, p99 < 10 ms")


def jobs(bench: Bench) -> None:
    """SQL jobs of one INSERT each, by one executor; the queue is filled while it is paused."""
    count = 200_000
    bench.sql.execute("CREATE TABLE sink (a int)")
    bench.sql.execute("SELECT automate.pause()")
    bench.sql.execute(
        "SELECT count(automate.enqueue_sql('INSERT INTO sink VALUES ($1)', jsonb_build_array(i)))"
        f" FROM generate_series(1, {count}) AS i"
    )
    began = time.monotonic()
    bench.sql.execute("SELECT automate.resume()")
    bench.until(f"SELECT count(*) >= {count} FROM sink")
    bench.rate("SQL jobs, one executor", count, time.monotonic() - began, ">= 50,000 /s")


def bulk(bench: Bench) -> None:
    """200,000 rows in one INSERT with one rule, 1 % matching, against a plpgsql trigger."""
    bench.sql.execute(
        """
        CREATE TABLE noted (id int);
        CREATE TABLE by_rule (id int, v int);
        CREATE TABLE by_hand (LIKE by_rule);
        CREATE TABLE by_none (LIKE by_rule);
        CREATE FUNCTION by_hand() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.v = 7 THEN
                PERFORM automate.enqueue_sql('INSERT INTO noted VALUES ($1)', jsonb_build_array(NEW.id));
            END IF;
            RETURN NULL; END $$;
        CREATE TRIGGER by_hand AFTER INSERT ON by_hand FOR EACH ROW EXECUTE FUNCTION by_hand();
        """
    )
    bench.sql.execute(
        """
        SELECT automate.create_rule('bulk', on_table => 'by_rule', operations => '{insert}',
            condition => 'NEW.v = 7',
            actions => '[{"sql": "INSERT INTO noted VALUES ($1)", "params": ["${ .new.id }"]}]')
        """
    )
    best: dict[str, float] = {}
    for _ in range(3):
        for table in ("by_none", "by_hand", "by_rule"):
            began = time.monotonic()
            bench.sql.execute(f"INSERT INTO {table} SELECT i, i % 100 FROM generate_series(1, 200000) AS i")
            best[table] = min(best.get(table, 1e9), time.monotonic() - began)
            bench.until("SELECT count(*) = 0 FROM automate.job")
    for table in ("by_none", "by_hand", "by_rule"):
        ours = table == "by_rule"
        bench.line(f"bulk insert of 200,000 rows: {table}", f"{best[table] * 1000:,.0f} ms",
                   "<= by_hand" if ours else "", f"{best[table] / best['by_hand']:.2f} x by_hand" if ours else "")


def webhooks(bench: Bench) -> None:
    """Latency to a server in Python; throughput to nginx."""
    server = HttpServer().start()
    make = "SELECT automate.create_channel(%s, 'webhook', jsonb_build_object('url', %s::text))"
    bench.sql.execute(make, ["slow", server.url])
    bench.sql.execute("SELECT automate.create_template('hook', 'hello', 'hello')")
    found = []
    for number in range(300):
        with bench.sql.transaction():
            bench.sql.execute("SELECT automate.notify('hook', '{slow:x}')")
            before = time.monotonic()
        found.append(server.wait_for(number + 1)[number].at - before)
    server.stop()
    bench.times("commit to arrival of a webhook", found[50:], "p50 < 3 ms")

    port, count = free_port(), 20_000
    with tempfile.TemporaryDirectory() as home:
        config = Path(home, "nginx.conf")
        config.write_text(NGINX.format(home=home, port=port))
        nginx = subprocess.Popen(["/usr/sbin/nginx", "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            poll(lambda: accepts(port), 10, "nginx listens")
            url = f"http://127.0.0.1:{port}/"
            bench.sql.execute(make, ["fast", url])
            alone = bench.alone("http", url, count)
            send(bench, "webhooks to nginx", "fast:x", count, ">= 5,000 /s", alone)
        finally:
            nginx.terminate()
            nginx.wait(10)


def accepts(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def mails(bench: Bench) -> None:
    """Throughput to aiosmtpd, and how many connections it took."""
    server = SmtpServer().start()
    bench.sql.execute("SELECT automate.create_template('mail', 'hello', 'hello')")
    bench.sql.execute(
        """
        SELECT automate.create_channel('post', 'smtp', jsonb_build_object(
            'host', '127.0.0.1', 'port', %s::int, 'tls', 'none', 'from', 'a@bench.test'))
        """,
        [server.port],
    )
    alone = bench.alone("smtp", server.port, 2_000)
    before = len(server.sessions)
    send(bench, "mails to aiosmtpd", "post:b@bench.test", 2_000, ">= 400 /s", alone)
    bench.line("  sessions at the server", f"{len(server.sessions) - before:,}", "few")
    server.stop()


def send(bench: Bench, what: str, recipient: str, count: int, target: str, alone: float) -> None:
    template = "mail" if recipient.startswith("post:") else "hook"
    sent = "SELECT count(*) FROM automate.delivery WHERE state = 'sent'"
    before = int(bench.one(sent))
    began = time.monotonic()
    bench.sql.execute(
        "SELECT count(automate.notify(%s, ARRAY[%s])) FROM generate_series(1, %s)",
        [template, recipient, count],
    )
    bench.until(f"{sent.replace('count(*)', f'count(*) >= {before + count}')}")
    seconds = time.monotonic() - began
    bench.rate(what, count, seconds, target, f"{count / seconds / alone:.2f} x the sender alone")


def idle(bench: Bench) -> None:
    """Transactions and CPU of a quiet minute; private memory of each of our processes."""
    bench.until("SELECT count(*) = 0 FROM automate.job")
    found = quiet.minute(bench.cluster)
    bench.line("idle transactions", f"{found.transactions:.2f} /s", "< 0.2 /s")
    bench.line("idle CPU of all our processes", f"{found.cpu * 100:.2f} %", "none")
    for process in found.processes:
        title = process.title.removeprefix("postgres: ")[:44]
        bench.line(title, f"{process.memory().private / 1e6:.1f} MB private", "< 40 MB")


PARTS: dict[str, Callable[[Bench], None]] = {
    part.__name__: part for part in (limits, latency, jobs, workflows, bulk, rules, webhooks, mails, idle, tasks)
}


def main() -> int:
    chosen = sys.argv[1:] or list(PARTS)
    failed = 0
    with Cluster(settings=SETTINGS) as cluster:
        cluster.psql("CREATE DATABASE bench")
        cluster.psql("CREATE EXTENSION pg_automate", "bench")
        with cluster.connect("bench") as connection:
            bench = Bench(cluster, connection)
            for name in chosen:
                try:
                    PARTS[name](bench)
                except (psycopg.Error, TimeoutError, RuntimeError, OSError, subprocess.SubprocessError) as error:
                    failed += 1
                    bench.line(name, "FAILED", str(error).splitlines()[0])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
