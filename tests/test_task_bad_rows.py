"""Tasks whose rows make no sense, or cannot have a run: they are disabled, and stop none of the others."""

from __future__ import annotations

import psycopg
import pytest

from support.database import Database

MANY = 200


def schedule(db: Database) -> None:
    """Many tasks, none of them due."""
    db.execute("CREATE TABLE done (task text)")
    db.execute(
        "SELECT automate.schedule_task('t' || n, 'sql', '@yearly', 'INSERT INTO done VALUES ($1)', jsonb_build_array('t' || n))"
        " FROM generate_series(1, %s) AS n",
        [MANY],
    )


def let_all_run(db: Database) -> None:
    """All become due at once; the others of t77 run, once each."""
    db.execute("SELECT automate.pause()")
    db.execute("UPDATE automate.task SET next_run_at = date_trunc('second', now()) WHERE status = 'active'")
    db.execute("SELECT automate.resume()")
    db.wait_until("SELECT count(*) = %s FROM done", [MANY - 1], deadline=60)
    db.wait_until("SELECT status = 'disabled' FROM automate.task WHERE name = 't77'")
    assert db.one("SELECT count(DISTINCT task) FROM done WHERE task <> 't77'") == MANY - 1
    assert db.one("SELECT count(*) FROM automate.task WHERE status <> 'active'") == 1
    assert db.one("SELECT count(*) FROM automate.task_runs WHERE task = 't77'") == 0


def test_a_row_that_cannot_be_read(db: Database) -> None:
    schedule(db)
    db.execute("ALTER TABLE automate.task DROP CONSTRAINT task_misfire")
    db.execute("UPDATE automate.task SET misfire = 'last 99999' WHERE name = 't77'")
    let_all_run(db)
    reason = db.one("SELECT status_reason FROM automate.task WHERE name = 't77'")
    assert "task with no valid misfire" in reason


def test_a_row_whose_run_cannot_be_written(db: Database) -> None:
    schedule(db)
    key = db.one("SELECT id::text FROM automate.task WHERE name = 't77'")
    db.execute(f"ALTER TABLE automate.task_run ADD CONSTRAINT no_run CHECK (task <> '{key}')")
    let_all_run(db)
    reason = db.one("SELECT status_reason FROM automate.task WHERE name = 't77'")
    assert reason.startswith("23514: ") and "no_run" in reason


@pytest.mark.parametrize("misfire", ["last 0", "last 1001", "last 99999", "last 0100"])
def test_a_misfire_out_of_range_is_not_kept(db: Database, misfire: str) -> None:
    db.execute("SELECT automate.schedule_task('t', 'sql', '@yearly', 'SELECT 1', misfire => 'last 1000')")
    with pytest.raises(psycopg.errors.CheckViolation, match="task_misfire"):
        db.execute("UPDATE automate.task SET misfire = %s", [misfire])
