"""Background statements of a test: put in, waited for, looked at."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from .database import Database
from .polling import poll


def enqueue(
    connection: psycopg.Connection[Any] | Database,
    statement: str,
    *params: Any,
    **options: Any,
) -> UUID:
    """`automate.enqueue_sql`; options by the names of its parameters."""
    names = "".join(f", {name} => %s" for name in options)
    row = connection.execute(
        f"SELECT automate.enqueue_sql(%s, %s{names})",
        [statement, Jsonb(list(params)), *options.values()],
    ).fetchone()
    assert row is not None
    return UUID(str(row[0]))


def ended(db: Database, job: UUID, deadline: float = 10) -> tuple[str, str | None]:
    """Waits for a job's end; its status and error."""
    row = poll(
        lambda: db.execute(
            "SELECT status, error FROM automate.job_history WHERE id = %s", [job]
        ).fetchone(),
        deadline,
        f"job {job} ends",
    )
    return row[0], row[1]


def succeeded(db: Database, job: UUID, deadline: float = 10) -> None:
    """Waits for a job's end, which must be a success."""
    assert ended(db, job, deadline) == ("succeeded", None)


def failed(db: Database, job: UUID, sqlstate: str, deadline: float = 10) -> str:
    """Waits for a job's end, which must be a failure with this SQLSTATE; its error."""
    status, error = ended(db, job, deadline)
    assert status == "failed" and error is not None and error.startswith(f"{sqlstate}: "), error
    return error


def idle(db: Database, deadline: float = 10) -> None:
    """Waits until nothing is to be done."""
    db.wait_until("SELECT count(*) = 0 FROM automate.job", deadline=deadline)


def workers(db: Database, kind: str, state: str | None = None) -> list[int]:
    """The process ids of our workers of a kind."""
    rows = db.rows(
        "SELECT pid FROM automate.activity WHERE worker = %s AND coalesce(state = %s, true) AND pid <> 0",
        [kind, state],
    )
    return [row[0] for row in rows]


def worker(db: Database, kind: str, state: str | None = None, deadline: float = 10) -> int:
    """Waits for a worker of a kind (and in a state); its process id."""
    return poll(lambda: workers(db, kind, state), deadline, f"a {kind} is {state or 'there'}")[0]


def allow(db: Database, role: str) -> psycopg.Connection[Any]:
    """Lets a role use the queue; a connection of it."""
    db.execute("REVOKE ALL ON FUNCTION automate.see_all FROM PUBLIC")
    db.execute(f'GRANT USAGE ON SCHEMA automate TO "{role}"')
    db.execute(f'GRANT CREATE ON SCHEMA public TO "{role}"')
    db.execute(
        "GRANT EXECUTE ON FUNCTION automate.enqueue_sql, automate.retry_job, automate.cancel_job,"
        f' automate.activity_json TO "{role}"'
    )
    db.execute(
        f'GRANT SELECT ON automate.job, automate.job_history, automate.activity TO "{role}"'
    )
    return db.connect(role)
