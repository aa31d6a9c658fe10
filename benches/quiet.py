"""What it costs to do nothing: for the parts `idle` and `tasks` of run.py."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import psycopg

from support.cluster import Cluster
from support.polling import poll
from support.process import Process

# How long nothing is done, to see what that costs.
QUIET_S = 60
COUNT = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'bench'"


@dataclass
class Quiet:
    """Transactions and CPU per second of a quiet minute, and whose."""

    transactions: float
    cpu: float
    processes: list[Process]


def minute(cluster: Cluster) -> Quiet:
    """Measures the database `bench`.

    Autovacuum, which clears away after others, has its own transactions: it is off meanwhile.
    Executor and courier stay, to be measured as well.
    """
    with cluster.connect("postgres") as other:
        other.execute("ALTER SYSTEM SET autovacuum = off")
        other.execute("ALTER SYSTEM SET automate.executor_idle_timeout = '10 min'")
        cluster.reload()
        busy = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'autovacuum worker')"
        poll(lambda: other.execute(busy).fetchone()[0], 300, "autovacuum ends")  # type: ignore[index]
        ours = cluster.processes("automate")
        # A session hands over its last statistics up to 10 s late: ours are to be in before we count.
        poll(lambda: _still(other), 120, "statistics settle", first_pause=1)
        count = other.execute(COUNT).fetchone()[0]  # type: ignore[index]
        cpu = sum(process.cpu_seconds() for process in ours)
        time.sleep(QUIET_S)
        count = other.execute(COUNT).fetchone()[0] - count  # type: ignore[index]
        spent = sum(process.cpu_seconds() for process in ours) - cpu
        other.execute("ALTER SYSTEM RESET autovacuum")
        other.execute("ALTER SYSTEM RESET automate.executor_idle_timeout")
        cluster.reload()
    return Quiet(count / QUIET_S, spent / QUIET_S, ours)


def _still(connection: psycopg.Connection[Any]) -> bool:
    """Whether the counter stands still for longer than a session may be late."""
    first = connection.execute(COUNT).fetchone()
    time.sleep(11)
    return bool(first == connection.execute(COUNT).fetchone())
