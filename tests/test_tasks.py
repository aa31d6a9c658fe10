"""Scheduled tasks: every due instant runs once or is recorded as skipped, and bad ones are told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import errors

from support.cluster import Cluster
from support.database import Database

Role = Callable[..., str]


def schedule(db: Database, name: str, when: str, command: str, more: str = "") -> str:
    sql = f"SELECT automate.schedule_task(%s, 'sql', %s, %s{', ' + more if more else ''})"
    return db.one(sql, [name, when, command])


def refused(db: Database, kind: type[Exception], sql: str, params: list[Any] | None = None) -> Any:
    with pytest.raises(kind) as caught:
        db.execute(sql, params)
    return caught.value.diag  # type: ignore[attr-defined]


def log_table(db: Database) -> None:
    db.execute("CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY, what text)")


# --- running ------------------------------------------------------------------------------------


def test_cron_with_seconds_fires_each_second_once(db: Database) -> None:
    log_table(db)
    schedule(db, "tick", "* * * * * *", "INSERT INTO log (what) VALUES ('tick')")
    db.wait_until("SELECT count(*) >= 3 FROM automate.task_runs WHERE status = 'succeeded'", deadline=20)
    db.execute("SELECT automate.pause_task('tick')")
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job)")
    runs = db.rows("SELECT scheduled_at FROM automate.task_runs WHERE status = 'succeeded' ORDER BY 1")
    assert db.one("SELECT count(*) FROM log") == len(runs)
    # Whole seconds, each one settled: run, or recorded as skipped on a busy machine.
    assert all(at.microsecond == 0 for (at,) in runs)
    first, last, settled = db.rows(
        "SELECT min(scheduled_at), max(coalesce(through, scheduled_at)), sum(instants) FROM automate.task_runs"
    )[0]
    assert settled == (last - first).total_seconds() + 1


def test_interval_and_moment(db: Database) -> None:
    log_table(db)
    schedule(db, "pulse", "every 2 s", "INSERT INTO log (what) VALUES ($1)", "'{\"params\": [\"pulse\"]}'")
    soon = datetime.now(UTC) + timedelta(milliseconds=700)
    schedule(db, "once", f"at {soon.isoformat()}", "INSERT INTO log (what) VALUES ('once')")
    db.wait_until(
        "SELECT count(*) FILTER (WHERE what = 'pulse') >= 2 AND count(*) FILTER (WHERE what = 'once') = 1 FROM log",
        deadline=20,
    )
    status, reason, runs = db.rows(
        "SELECT status, status_reason, run_count FROM automate.task WHERE name = 'once'"
    )[0]
    assert (status, reason, runs) == ("disabled", "its schedule has no further run", 1)
    at = db.one("SELECT scheduled_at FROM automate.task_runs WHERE task = 'once'")
    assert at == soon
    seconds = db.rows(
        "SELECT extract(epoch FROM scheduled_at)::int % 2 FROM automate.task_runs WHERE task = 'pulse' AND job IS NOT NULL"
    )
    assert {second for (second,) in seconds} == {0}


def test_execute_runs_now_and_shows_its_run(db: Database) -> None:
    log_table(db)
    schedule(db, "rare", "0 0 1 1 *", "INSERT INTO log (what) VALUES ('rare')")
    schedule(db, "wrong", "0 0 1 1 *", "SELECT 1 / (SELECT count(*) FROM pg_class WHERE relname = 'nothing')")
    job = db.one("SELECT automate.execute_task('rare')")
    bad = db.one("SELECT automate.execute_task('wrong')")
    db.wait_until("SELECT count(*) = 2 FROM automate.task_runs WHERE finished_at IS NOT NULL")
    rows = dict(db.rows("SELECT job, (task, status, error) FROM automate.task_runs"))
    assert rows[job][:2] == ("rare", "succeeded")
    assert rows[bad][1] == "failed" and "22012" in rows[bad][2]
    assert db.one("SELECT count(*) FROM log") == 1
    assert db.one("SELECT next_run_at > now() FROM automate.task WHERE name = 'rare'")


def test_top_level_statement(db: Database) -> None:
    db.execute("CREATE TABLE heap AS SELECT 1 AS a")
    schedule(db, "sweep", "@yearly", "VACUUM heap")
    db.execute("SELECT automate.execute_task('sweep')")
    db.wait_until("SELECT status = 'succeeded' FROM automate.task_runs")


def test_search_path_and_disabled(db: Database) -> None:
    db.execute("CREATE SCHEMA other; CREATE TABLE other.log2 (what text)")
    db.execute("SET search_path = other")
    schedule(db, "t", "* * * * * *", "INSERT INTO log2 VALUES ('ran')", "enabled => false, timeout => '5 s'")
    db.execute("RESET search_path")
    db.execute("SELECT automate.execute_task('t')")
    db.wait_until("SELECT count(*) > 0 FROM other.log2")
    assert db.rows("SELECT status, run_count FROM automate.task") == [("disabled", 1)]
    db.execute("SELECT automate.resume_task('t')")
    db.wait_until("SELECT count(*) > 1 FROM other.log2")


def test_rollback_leaves_nothing(db: Database) -> None:
    log_table(db)
    with db.connect(autocommit=False) as other:
        other.execute(
            "SELECT automate.schedule_task('tick', 'sql', '* * * * * *', 'INSERT INTO log (what) VALUES (1)')"
        )
        other.execute("SELECT automate.execute_task('tick')")
        other.rollback()
    assert db.one("SELECT count(*) FROM automate.task") == 0
    assert db.one("SELECT count(*) FROM automate.job") == 0
    # The same name is free.
    schedule(db, "tick", "* * * * * *", "INSERT INTO log (what) VALUES ('kept')")
    db.wait_until("SELECT count(*) > 0 FROM log")
    assert db.rows("SELECT DISTINCT what FROM log") == [("kept",)]


def test_pause_and_resume(db: Database) -> None:
    log_table(db)
    schedule(db, "tick", "* * * * * *", "INSERT INTO log (what) VALUES ('tick')")
    db.wait_until("SELECT count(*) > 0 FROM log")
    db.execute("SELECT automate.pause_task('tick')")
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job)")
    before = db.one("SELECT run_count FROM automate.task")
    db.wait_until("SELECT next_run_at < now() - interval '2 s' FROM automate.task")
    assert db.one("SELECT run_count FROM automate.task") == before
    db.execute("SELECT automate.resume_task('tick')")
    first, through, instants = db.rows(
        "SELECT scheduled_at, through, instants FROM automate.task_runs WHERE error = 'paused'"
    )[0]
    assert instants == (through - first).total_seconds() + 1 >= 3
    db.wait_until("SELECT run_count > %s FROM automate.task", [before])


def test_retries(db: Database) -> None:
    db.execute("CREATE SEQUENCE attempts")
    schedule(db, "shaky", "@yearly", "SELECT 1 / (nextval('attempts') - 1)", "retries => 1, backoff => '100 ms'")
    db.execute("SELECT automate.execute_task('shaky')")
    db.wait_until("SELECT status = 'succeeded' FROM automate.task_runs")
    assert db.one("SELECT attempts FROM automate.job_history") == 2


def test_overlap_is_skipped(db: Database) -> None:
    db.execute("SELECT pg_advisory_lock(11)")
    schedule(db, "slow", "* * * * * *", "SELECT pg_advisory_xact_lock(11)")
    db.wait_until("SELECT count(*) >= 2 FROM automate.task_runs WHERE error = 'overlap'")
    assert db.one("SELECT count(*) FROM automate.task_runs WHERE job IS NOT NULL") == 1
    db.execute("SELECT automate.pause_task('slow'), pg_advisory_unlock(11)")
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job)")


def test_unschedule(db: Database) -> None:
    schedule(db, "rare", "@yearly", "SELECT 1")
    db.execute("SELECT automate.execute_task('rare')")
    db.execute("SELECT automate.unschedule_task('rare')")
    assert db.one("SELECT count(*) FROM automate.task") == 0
    assert db.one("SELECT count(*) FROM automate.task_run") == 0
    diag = refused(db, errors.UndefinedObject, "SELECT automate.execute_task('rare')")
    assert diag.message_primary == 'task "rare" does not exist'


# --- faults -------------------------------------------------------------------------------------


def test_dropped_and_nologin_roles_do_not_stop_others(db: Database, role: Role) -> None:
    log_table(db)
    gone, locked = role("gone"), role("locked")
    for who in (gone, locked):
        with db.connect(who) as other:
            other.execute("SELECT automate.schedule_task('theirs', 'sql', '* * * * * *', 'SELECT 1')")
    # A schedule that nothing of ours can read, as after a downgrade.
    schedule(db, "broken", "* * * * * *", "SELECT 1")
    db.execute("""UPDATE automate.task SET schedule = '{"cron": "nonsense"}' WHERE name = 'broken'""")
    db.execute(f"ALTER ROLE {locked} NOLOGIN")
    db.execute(f"DROP OWNED BY {gone}")
    db.execute(f"DROP ROLE {gone}")
    schedule(db, "mine", "* * * * * *", "INSERT INTO log (what) VALUES ('mine')")
    db.wait_until("SELECT count(*) >= 2 FROM log")
    states = dict(db.rows("SELECT CASE name WHEN 'theirs' THEN owner::text ELSE name END, (status, status_reason) FROM automate.task"))
    assert states.pop(locked) == ("active", None)
    assert states.pop("mine") == ("active", None)
    status, reason = states.pop("broken")
    assert status == "disabled" and "nonsense" in reason
    assert list(states.values()) == [("disabled", "its owner was dropped")]
    db.wait_until("SELECT EXISTS (SELECT FROM automate.task_runs WHERE error = 'no login')")


def test_locked_task_does_not_stop_others(db: Database) -> None:
    log_table(db)
    schedule(db, "held", "* * * * * *", "SELECT 1")
    with db.connect(autocommit=False) as other:
        other.execute("SELECT FROM automate.task WHERE name = 'held' FOR UPDATE")
        schedule(db, "free", "* * * * * *", "INSERT INTO log (what) VALUES ('free')")
        db.wait_until("SELECT count(*) >= 2 FROM log")
        held = db.one("SELECT next_run_at FROM automate.task WHERE name = 'held'")
        other.rollback()
    db.wait_until("SELECT next_run_at > %s FROM automate.task WHERE name = 'held'", [held])


def test_missed_instants_after_a_stop(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(fsync=False)
    db = Database(cluster, "postgres")
    db.execute("CREATE EXTENSION pg_automate")
    log_table(db)
    for misfire in ("once", "skip"):
        db.execute(
            "SELECT automate.schedule_task(%s, 'sql', '0 * * * *', "
            "format('INSERT INTO log (what) VALUES (%%L)', %s::text), misfire => %s)",
            [misfire, misfire, misfire],
        )
    # As if the server had been down for a day: its clock cannot be turned, the tasks' can.
    db.execute("SELECT automate.pause('test')")
    db.execute(
        "UPDATE automate.task SET next_run_at = date_trunc('hour', now() - interval '1 minute') - interval '23 hours'"
    )
    first = db.one("SELECT min(next_run_at) FROM automate.task")
    db.close()
    cluster.restart()
    db.execute("SELECT automate.resume()")
    db.wait_until("SELECT bool_and(next_run_at > now()) FROM automate.task", deadline=40)
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job)")
    late = db.one("SELECT now() - date_trunc('hour', now()) > interval '90 s'")
    skipped = {
        task: (since, instants)
        for task, since, instants in db.rows(
            "SELECT task, scheduled_at, instants FROM automate.task_runs WHERE status = 'skipped'"
        )
    }
    ran = dict(db.rows("SELECT task, scheduled_at FROM automate.task_runs WHERE status = 'succeeded'"))
    assert skipped["once"][0] == skipped["skip"][0] == first
    hours = (ran["once"] - first) // timedelta(hours=1)
    assert hours >= 23 and skipped["once"][1] == hours
    if late:
        assert db.rows("SELECT what FROM log") == [("once",)]
        assert skipped["skip"][1] == hours + 1
    db.close()


# --- bad input ----------------------------------------------------------------------------------

BAD = [
    (["t", "sql", "61 * * * *", "SELECT 1"], "61", None),
    (["t", "sql", "* * *", "SELECT 1"], "", None),
    (["t", "sql", "at 2001-01-01T00:00:00Z", "SELECT 1"], "has no run to come", "automate.next_runs"),
    (["t", "sql", "every 0 s", "SELECT 1"], "too short", "1 second"),
    (["t", "sqll", "@daily", "SELECT 1"], 'task_type cannot be "sqll"', 'Did you mean "sql"?'),
    ([" ", "sql", "@daily", "SELECT 1"], "must not be empty", None),
]


@pytest.mark.parametrize("call, message, hint", BAD)
def test_bad_schedules(db: Database, call: list[str], message: str, hint: str | None) -> None:
    diag = refused(
        db, errors.InvalidParameterValue, "SELECT automate.schedule_task(%s, %s, %s, %s)", list(call)
    )
    assert message in diag.message_primary
    if call[0] != " ":
        assert diag.message_hint
    if hint:
        assert hint in diag.message_hint


def test_bad_zone_command_and_name(db: Database) -> None:
    diag = refused(
        db, errors.InvalidParameterValue,
        "SELECT automate.schedule_task('t', 'sql', '@daily', 'SELECT 1', time_zone => 'Europe/Zürich')",
    )
    assert diag.message_hint == 'Did you mean "Europe/Zurich"?'
    diag = refused(
        db, errors.UndefinedTable, "SELECT automate.schedule_task('t', 'sql', '@daily', 'SELECT * FROM nowhere')"
    )
    assert "At character 15" in diag.message_detail
    diag = refused(
        db, errors.SyntaxError, "SELECT automate.schedule_task('t', 'sql', '@daily', 'SELEC 1')"
    )
    assert "At character 1 " in diag.message_detail
    diag = refused(
        db, errors.InvalidParameterValue,
        """SELECT automate.schedule_task('t', 'sql', '@daily', 'SELECT 1', '{"parms": []}')""",
    )
    assert diag.message_hint == 'Did you mean "params"?'
    diag = refused(
        db, errors.InvalidParameterValue, "SELECT automate.schedule_task('t', 'sql', '@daily', 'SELECT $1::int, $2')"
    )
    assert diag.message_primary == "the command takes 2 parameters, but params has 0"
    diag = refused(
        db, errors.UndefinedObject, "SELECT automate.schedule_task('t', 'report', '@daily', 'nothing')"
    )
    assert diag.message_primary == 'report "nothing" does not exist'
    schedule(db, "daily", "@daily", "SELECT 1")
    diag = refused(
        db, errors.DuplicateObject, "SELECT automate.schedule_task('daily', 'sql', '@daily', 'SELECT 1')"
    )
    assert "unschedule_task" in diag.message_hint
    diag = refused(db, errors.UndefinedObject, "SELECT automate.pause_task('dayly')")
    assert diag.message_hint == 'Did you mean "daily"?'


def test_report_task_wants_template_and_recipients_together(db: Database) -> None:
    db.execute(
        "SELECT automate.create_report('r', %s)",
        ['{"title": "t", "datasets": {"d": {"sql": "SELECT 1 AS a"}}, "layout": [{"table": {"data": "d"}}]}'],
    )
    call = "SELECT automate.schedule_task('t', 'report', '@daily', 'r', %s)"
    diag = refused(db, errors.InvalidParameterValue, call, ['{"recipients": ["mail:a@b"]}'])
    assert "needs a template" in diag.message_primary
    diag = refused(db, errors.InvalidParameterValue, call, ['{"formats": ["htm"]}'])
    assert diag.message_hint == 'Did you mean "html"?'
    db.execute(call, ['{"formats": ["csv"]}'])
    db.execute("SELECT automate.execute_task('t')")
    run = db.wait_until("SELECT id FROM automate.report_run WHERE status = 'completed' AND source = 'task:t'")
    assert db.one("SELECT convert_from(automate.report_file(%s, 'csv'), 'UTF8')", [run]) == '"a"\r\n1\r\n'


# --- next_runs, zones, rights -------------------------------------------------------------------


def next_runs(db: Database, cron: str, zone: str, after: str, n: int = 3) -> list[tuple[str, str | None]]:
    return db.rows(
        "SELECT to_char(run_at AT TIME ZONE %s, 'MM-DD HH24:MI'), note FROM automate.next_runs(%s, %s, %s, %s)",
        [zone, cron, n, zone, after],
    )


def test_next_runs_over_daylight_saving(db: Database) -> None:
    forward = [
        ("03-28 02:30", None),
        ("03-29 03:00", "the clock goes forward from 02:00 to 03:00"),
        ("03-30 02:30", None),
    ]
    assert next_runs(db, "30 2 * * *", "Europe/Zurich", "2026-03-28 00:00+01") == forward
    back = [("10-24 02:30", None), ("10-25 02:30", "02:30 comes twice: the first"), ("10-26 02:30", None)]
    assert next_runs(db, "30 2 * * *", "Europe/Zurich", "2026-10-24 00:00+02") == back
    forward = [
        ("03-07 02:30", None),
        ("03-08 03:00", "the clock goes forward from 02:00 to 03:00"),
        ("03-09 02:30", None),
    ]
    assert next_runs(db, "30 2 * * *", "America/New_York", "2026-03-07 00:00-05") == forward
    back = [("10-31 01:30", None), ("11-01 01:30", "01:30 comes twice: the first"), ("11-02 01:30", None)]
    assert next_runs(db, "30 1 * * *", "America/New_York", "2026-10-31 00:00-04") == back
    twice = next_runs(db, "0,30 * * * *", "America/New_York", "2026-11-01 00:45-04", 4)
    assert [note for _, note in twice] == [
        "01:00 comes twice: the first of both passes", "01:30 comes twice: the first of both passes",
        "01:00 comes twice: the second of both passes", "01:30 comes twice: the second of both passes",
    ]


def test_time_zone_is_the_sessions(db: Database) -> None:
    db.execute("SET TimeZone = 'Asia/Tokyo'")
    schedule(db, "morning", "0 8 * * *", "SELECT 1")
    db.execute("SET TimeZone = '<+02>-02'")
    schedule(db, "offset", "0 8 * * *", "SELECT 1")
    zones = dict(db.rows("SELECT name, (time_zone, schedule ->> 'time_zone', to_char(next_run_at AT TIME ZONE 'UTC', 'HH24')) FROM automate.task"))
    assert zones == {"morning": ("Asia/Tokyo", "Asia/Tokyo", "23"), "offset": ("UTC", "UTC", "08")}
    # What has no next run has none; limits are told.
    assert db.rows("SELECT * FROM automate.next_runs('0 0 30 2 *')") == []
    refused(db, errors.InvalidParameterValue, "SELECT * FROM automate.next_runs('@daily', 0)")


def test_a_role_sees_and_steers_its_own(db: Database, role: Role) -> None:
    ann, bob = role("ann"), role("bob")
    for who in (ann, bob):
        with db.connect(who) as session:
            session.execute("SELECT automate.schedule_task('same', 'sql', '@yearly', 'SELECT 1')")
            session.execute("SELECT automate.execute_task('same')")
    with db.connect(ann) as session:
        for table in ("automate.task", "automate.task_run", "automate.task_runs"):
            owners = session.execute(f"SELECT DISTINCT owner::text FROM {table}").fetchall()  # type: ignore[arg-type]
            assert owners == [(ann,)], table
        session.execute("SELECT automate.unschedule_task('same')")
        with pytest.raises(errors.UndefinedObject):
            session.execute("SELECT automate.unschedule_task('same')")
    assert db.rows("SELECT owner::text FROM automate.task") == [(bob,)]
    # A member of the owner may do what the owner may.
    db.execute(f"GRANT {bob} TO {ann}")
    with db.connect(ann) as session:
        session.execute("SELECT automate.pause_task('same')")
    assert db.one("SELECT status FROM automate.task") == "paused"
