"""Workflows of SQL steps by DBOS (in process): dbos.py URI RUNS STEPS; prints runs a second."""

from __future__ import annotations

import sys
import time

# The folder of this file would hide the package of the same name.
sys.path.pop(0)

import psycopg  # noqa: E402
from dbos import DBOS  # noqa: E402

uri, runs, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
DBOS(config={"name": "bench", "system_database_url": uri, "run_admin_server": False, "log_level": "ERROR"})
sql = psycopg.connect(uri, autocommit=True)


@DBOS.step()
def one() -> int:
    return sql.execute("SELECT 1").fetchone()[0]


@DBOS.workflow()
def bench() -> None:
    for _ in range(steps):
        one()


DBOS.launch()
bench()
began = time.monotonic()
for _ in range(runs):
    bench()
print(runs / (time.monotonic() - began))
DBOS.destroy()
