"""Taking over the jobs of pg_cron, beside the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from psycopg import errors

from support import paths
from support.cluster import Cluster
from support.database import Database

CRON = paths.extension_sql().parent / "pg_cron.control"
needs_pg_cron = pytest.mark.skipif(
    not CRON.exists(),
    reason="pg_cron is not installed: run `scripts/setup.sh --cron` and `make build`; the continuous integration does",
)
FIELDS = "task, owner, schedule, time_zone, enabled, action, reason, unscheduled"


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    settings: dict[str, object] = {"shared_preload_libraries": "pg_cron, pg_automate", "cron.database_name": "postgres"}
    with Cluster(fsync=False, settings=settings) as cluster:
        yield cluster


@pytest.fixture
def cron(server: Cluster) -> Iterator[Database]:
    """A database with both extensions, and roles ann (may log in), bob and mute (may not)."""
    db = Database(server, "postgres")
    for name, options in [("ann", "LOGIN"), ("bob", "LOGIN"), ("mute", "LOGIN")]:
        db.execute(f"CREATE ROLE {name} {options}")
    db.execute("CREATE EXTENSION pg_cron; CREATE EXTENSION pg_automate")
    db.execute("GRANT USAGE ON SCHEMA cron TO ann, bob, mute")
    yield db
    db.execute("DROP EXTENSION pg_automate CASCADE; DROP EXTENSION pg_cron CASCADE")
    for name in ("ann", "bob", "mute"):
        db.execute(f"DROP OWNED BY {name}")
        db.execute(f"DROP ROLE {name}")
    db.close()


def job(db: Database, user: str, name: str | None, when: str, command: str) -> int:
    with db.connect(user) as session:
        args = [when, command] if name is None else [name, when, command]
        row = session.execute(f"SELECT cron.schedule({', '.join(['%s'] * len(args))})", args).fetchone()
    return int(row[0])  # type: ignore[index]


def imported(db: Database, options: str = "", fields: str = FIELDS) -> dict[int, tuple[Any, ...]]:
    rows = db.rows(f"SELECT jobid, {fields} FROM automate.import_pg_cron({options})")
    return {row[0]: row[1:] for row in rows}


@needs_pg_cron
def test_dry_run_then_import_then_nothing(cron: Database) -> None:
    db = cron
    db.execute("CREATE SCHEMA private AUTHORIZATION ann; CREATE TABLE private.log (a int); ALTER TABLE private.log OWNER TO ann")
    db.execute("ALTER ROLE ann SET search_path = private")
    nightly = job(db, "ann", "nightly", "30 3 * * *", "INSERT INTO log VALUES (1)")
    unnamed = job(db, "postgres", None, "@hourly", "VACUUM")
    broken = job(db, "bob", "broken", "0 0 * * 1-5", "SELECT * FROM nowhere")
    silent = job(db, "mute", "silent", "*/5 * * * *", "SELECT 1")
    other = db.one("SELECT cron.schedule_in_database('far', '0 0 * * *', 'SELECT 1', 'template1')")
    boot = job(db, "ann", "boot", "@reboot", "SELECT 1")
    resting = job(db, "ann", "resting", "15 10 1 jan,jul *", "SELECT 2")
    db.execute("SELECT cron.alter_job(%s, active => false)", [resting])
    db.execute("ALTER ROLE mute NOLOGIN")
    expected = {
        nightly: ("nightly", "ann", "30 3 * * *", "GMT", True, "import", None, False),
        unnamed: (f"cron_{unnamed}", "postgres", "@hourly", "GMT", True, "import", None, False),
        resting: ("resting", "ann", "15 10 1 jan,jul *", "GMT", False, "import", None, False),
        other: ("far", "postgres", "0 0 * * *", "GMT", True, "skip", "it runs in database template1: schedule it there", False),
        silent: ("silent", "mute", "*/5 * * * *", "GMT", True, "refuse", "role mute is not permitted to log in", False),
    }
    found = imported(db)
    assert {id_: found[id_] for id_ in expected} == expected
    assert found[broken][5] == "refuse" and '"nowhere" does not exist' in found[broken][6]
    assert found[boot][5] == "refuse" and "server starts" in found[boot][6]
    assert db.one("SELECT count(*) FROM automate.task") == 0
    # The same in earnest.
    assert imported(db, "dry_run => false") == found
    tasks = {
        name: row for name, *row in db.rows(
            "SELECT name, owner::text, status, schedule ->> 'cron', time_zone, command, top_level, misfire, overlap FROM automate.task"
        )
    }
    assert tasks == {
        "nightly": ["ann", "active", "30 3 * * *", "GMT", "INSERT INTO log VALUES (1)", False, "skip", "queue"],
        f"cron_{unnamed}": ["postgres", "active", "0 * * * *", "GMT", "VACUUM", True, "skip", "queue"],
        "resting": ["ann", "disabled", "15 10 1 jan,jul *", "GMT", "SELECT 2", False, "skip", "queue"],
    }
    assert db.one("SELECT count(*) FROM cron.job") == 7
    before = db.rows("SELECT t FROM automate.task AS t ORDER BY id")
    again = imported(db, "false", "action, reason")
    assert again[nightly] == again[unnamed] == ("skip", "there is a task of that name with that command")
    assert db.rows("SELECT t FROM automate.task AS t ORDER BY id") == before
    # It runs as its owner, under the owner's search_path.
    db.execute("SELECT automate.execute_task('nightly')")
    db.wait_until("SELECT count(*) = 1 FROM private.log")
    assert db.rows("SELECT action, by_role FROM automate.task_audit WHERE task = 'nightly'") == [("import", "postgres")]
    # Only what is taken over leaves pg_cron.
    gone = imported(db, "dry_run => true, unschedule => true", "unscheduled")
    assert not any(row[0] for row in gone.values()) and db.one("SELECT count(*) FROM cron.job") == 7
    gone = imported(db, "dry_run => false, unschedule => true", "unscheduled")
    assert {id_ for id_, (over,) in gone.items() if over} == {nightly, unnamed, resting}
    assert {row[0] for row in db.rows("SELECT jobid FROM cron.job")} == {broken, silent, other, boot}


@needs_pg_cron
def test_another_task_of_that_name_stays(cron: Database) -> None:
    db = cron
    id_ = job(db, "postgres", "same", "0 1 * * *", "SELECT 1")
    db.execute("SELECT automate.schedule_task('same', 'sql', '0 2 * * *', 'SELECT 2')")
    found = imported(db, "false, unschedule => true", "action, reason, unscheduled")
    assert found == {id_: ("skip", "there is another task of that name", False)}
    assert db.rows("SELECT command FROM automate.task") == [("SELECT 2",)]
    assert db.one("SELECT count(*) FROM cron.job") == 1


@needs_pg_cron
def test_only_with_the_rights_of_the_owner(cron: Database) -> None:
    db = cron
    mine = job(db, "ann", "mine", "0 1 * * *", "SELECT 1")
    his = job(db, "bob", "his", "0 1 * * *", "SELECT 1")
    db.execute("SELECT automate.grant_usage('ann', 'admin'); SELECT automate.grant_usage('bob', 'user')")
    with db.connect("ann") as session:
        rows = session.execute("SELECT jobid, action, reason FROM automate.import_pg_cron(false)").fetchall()
        assert rows == [(mine, "import", None), (his, "refuse", "you do not have the privileges of role bob")]
    with db.connect("bob") as session, pytest.raises(errors.InsufficientPrivilege):
        session.execute("SELECT * FROM automate.import_pg_cron()")
    assert db.rows("SELECT name FROM automate.task") == [("mine",)]


def test_a_table_of_that_name_is_not_pg_cron(db: Database, role: Callable[..., str]) -> None:
    ann = role("ann")
    db.execute(f"CREATE SCHEMA cron AUTHORIZATION {ann}")
    with db.connect(ann) as session:
        session.execute("CREATE TABLE cron.job (jobid bigint, schedule text, command text, database text, username text)")
        session.execute("INSERT INTO cron.job VALUES (1, '* * * * *', 'ALTER ROLE ann SUPERUSER', current_database(), 'postgres')")
    with pytest.raises(errors.UndefinedObject) as caught:
        db.execute("SELECT * FROM automate.import_pg_cron(false)")
    diag = caught.value.diag
    assert diag.message_primary == "there is no pg_cron in this database"
    assert diag.message_detail and diag.message_hint
