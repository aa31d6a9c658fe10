"""The part `workflows` of run.py: runs of steps, branches, loops and waits, and peers beside them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import quiet

if TYPE_CHECKING:
    from run import Bench

HERE = Path(__file__).resolve().parent
ONE = {"call": "sql", "with": {"query": "SELECT 1", "result": "none"}}
STAMP = {"call": "sql", "with": {"query": "INSERT INTO stamp VALUES ($1, clock_timestamp())", "params": ["${ $workflow.id }"], "result": "none"}}
LEFT = "status NOT IN ('completed', 'faulted', 'cancelled')"


def create(bench: Bench, name: str, *tasks: dict[str, Any], **more: Any) -> None:
    named = [{f"s{number}": task} for number, task in enumerate(tasks)]
    bench.sql.execute("SELECT automate.create_workflow(%s, %s::jsonb)", [name, json.dumps({"do": named, **more})])


def start(bench: Bench, name: str, runs: int) -> float:
    """Starts runs in one statement; returns when that began."""
    began = time.monotonic()
    bench.sql.execute("SELECT count(automate.execute_workflow(%s)) FROM generate_series(1, %s)", [name, runs])
    return began


def finish(bench: Bench, name: str) -> None:
    bench.until(f"SELECT NOT EXISTS (SELECT FROM automate.run WHERE workflow = '{name}' AND {LEFT})")
    bad = bench.one("SELECT count(*) FROM automate.run WHERE workflow = %s AND status <> 'completed'", name)
    assert bad == 0, f"{bad} runs of {name} did not complete"


def workflows(bench: Bench) -> None:
    bench.sql.execute("CREATE TABLE stamp (run text, at timestamptz)")
    rates = {}
    for steps, runs, target in ((1, 40_000, ">= 10,000 /s"), (10, 8_000, ">= 20,000 steps/s")):
        name = f"steps-{steps}"
        create(bench, name, *[ONE] * steps)
        began = start(bench, name, runs)
        finish(bench, name)
        seconds = time.monotonic() - began
        bench.rate(f"workflow steps, {steps} a run", runs * steps, seconds, target)
        rates[steps] = runs / seconds
    peers(bench, rates)
    chain(bench)
    first_effect(bench)
    fork(bench)
    loop(bench)
    waiting(bench)


def peers(bench: Bench, rates: dict[int, float]) -> None:
    """The same by others, on the same server; scripts/setup.sh --bench installs them."""
    python = Path(os.environ["PG_AUTOMATE_CACHE"], "peers/bin/python")
    if not python.exists():
        bench.line("peers", "not installed: scripts/setup.sh --bench")
        return
    for peer in ("absurd", "dbos"):
        for steps, runs in ((1, 1_000), (10, 200)):
            name = f"{peer}_{steps}"
            bench.sql.execute(f"CREATE DATABASE {name}")
            uri = f"postgresql:///{name}?host={bench.cluster.base / 'socket'}&port={bench.cluster.port}&user=postgres"
            done = subprocess.run([python, HERE / "peers" / f"{peer}.py", uri, str(runs), str(steps)],
                                  capture_output=True, text=True, timeout=300)
            bench.sql.execute(f"DROP DATABASE {name} WITH (FORCE)")
            if done.returncode != 0:
                bench.line(f"{peer}, {steps} a run", "failed", "", done.stderr.strip().splitlines()[-1][:80])
                continue
            rate = float(done.stdout.split()[-1])
            bench.line(f"{peer}: workflow steps, {steps} a run", f"{rate * steps:,.0f} /s", "",
                       f"we do {rates[steps] / rate:,.0f} x")


def chain(bench: Bench) -> None:
    """From one step of a run to the next, and a run of ten."""
    create(bench, "chain", *[STAMP] * 200)
    start(bench, "chain", 1)
    finish(bench, "chain")
    rows = bench.sql.execute(
        "SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY at))::float8 FROM stamp").fetchall()
    bench.times("step to step of one run", [row[0] for row in rows if row[0] is not None], "p50 < 0.5 ms")
    create(bench, "ten", *[STAMP] * 10)
    found = []
    for _ in range(50):
        run = bench.one("SELECT automate.execute_workflow('ten')")
        finish(bench, "ten")
        found.append(bench.one("SELECT extract(epoch FROM finished_at - created_at)::float8 FROM automate.run WHERE id = %s", run))
    bench.times("a run of ten SQL steps", found[10:], "< 10 ms")


def first_effect(bench: Bench) -> None:
    create(bench, "effect", STAMP)
    found = []
    for _ in range(300):
        with bench.sql.transaction():
            run = str(bench.one("SELECT automate.execute_workflow('effect')"))
            before = time.time()
        finish(bench, "effect")
        found.append(bench.one("SELECT extract(epoch FROM at)::float8 FROM stamp WHERE run = %s", run) - before)
    bench.times("start to the first effect", found[50:], "p50 < 1 ms")


def fork(bench: Bench) -> None:
    create(bench, "fork", {"fork": {"branches": [{f"b{number}": ONE} for number in range(100)]}})
    found = []
    for _ in range(20):
        run = bench.one("SELECT automate.execute_workflow('fork')")
        finish(bench, "fork")
        found.append(bench.one("SELECT extract(epoch FROM finished_at - created_at)::float8 FROM automate.run WHERE id = %s", run))
    bench.times("a fork of 100 branches, joined", found[2:], "< 200 ms")


def loop(bench: Bench) -> None:
    """10,000 turns of a loop: the state stays small."""
    create(bench, "loop", {"for": {"each": "n", "in": "[range(10000)]"}, "do": [{"one": ONE}]})
    began = start(bench, "loop", 1)
    sizes = []
    while bench.one(f"SELECT EXISTS (SELECT FROM automate.run WHERE workflow = 'loop' AND {LEFT})"):
        size = bench.one("SELECT max(pg_column_size(state)) FROM automate.run WHERE workflow = 'loop'")
        sizes.append(size or 0)
    bench.rate("turns of a loop of 10,000", 10_000, time.monotonic() - began, "")
    half = len(sizes) // 2
    first, second = statistics.median(sizes[1:half] or [0]), statistics.median(sizes[half:-1] or [0])
    bench.line("bytes of its state: first half, second half", f"{first:,.0f}, {second:,.0f}", "does not grow")


def waiting(bench: Bench) -> None:
    """100,000 runs that wait, and 10,000 of them woken."""
    create(bench, "wait", {"wait": {"hours": 1}})
    began = start(bench, "wait", 100_000)
    bench.until("SELECT count(*) = 100000 FROM automate.run WHERE workflow = 'wait' AND status = 'waiting'")
    bench.rate("runs that begin to wait", 100_000, time.monotonic() - began, "")
    calm = quiet.minute(bench.cluster)
    bench.line("100,000 runs that wait: idle", f"{calm.transactions:.2f} tx/s, {calm.cpu * 100:.2f} % CPU", "< 0.2 tx/s")
    began = time.monotonic()
    bench.sql.execute(
        "SELECT count(automate.cancel_run(id)) FROM (SELECT id FROM automate.run"
        " WHERE workflow = 'wait' AND status = 'waiting' LIMIT 10000) AS r")
    bench.until("SELECT count(*) = 10000 FROM automate.run WHERE workflow = 'wait' AND status = 'cancelled'")
    bench.rate("waiting runs woken", 10_000, time.monotonic() - began, ">= 1,000 /s")
