"""Workflows of SQL steps by absurd (one worker): absurd.py URI RUNS STEPS; prints runs a second."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
from absurd_sdk import Absurd

uri, runs, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
command = Path(sys.executable).parent / "absurdctl"
subprocess.run([command, "init", "-d", uri], check=False, capture_output=True)
app = Absurd(uri)
app.create_queue("default")
sql = psycopg.connect(uri, autocommit=True)


@app.register_task(name="bench")
def bench(params, ctx):  # type: ignore[no-untyped-def]
    for number in range(steps):
        ctx.step(f"s{number}", lambda: sql.execute("SELECT 1").fetchone()[0])


for _ in range(runs):
    app.spawn("bench", {})
began = time.monotonic()
threading.Thread(target=lambda: app.start_worker(concurrency=1, batch_size=100), daemon=True).start()
with psycopg.connect(uri, autocommit=True) as look:
    while look.execute("SELECT count(*) FROM absurd.t_default WHERE state = 'completed'").fetchone()[0] < runs:
        time.sleep(0.05)
print(runs / (time.monotonic() - began))
