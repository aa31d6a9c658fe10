"""Calendars: what schedules leave out under a name, and how tasks follow a change of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from support.database import Database
from support.paths import ROOT

Role = Callable[..., str]

DAILY = '{"cron": "0 8 * * *", "time_zone": "UTC", "except": [{"calendar": "off"}]}'
NEXT = "SELECT next_run_at = (current_date + %s) + time '8:00' FROM automate.task WHERE name = 'k'"


@pytest.fixture
def utc(db: Database) -> Database:
    db.execute("SET TimeZone = 'UTC'")
    return db


def create(session: Any, name: str, entries: Any, more: str = "") -> Any:
    return session.execute(f"SELECT automate.create_calendar(%s, %s{more})", [name, json.dumps(entries)]).fetchone()[0]


def task(session: Any, name: str = "k", schedule: str = DAILY) -> None:
    session.execute("SELECT automate.schedule_task(%s, 'sql', %s, 'SELECT 1')", [name, schedule])


def refused(session: Any, kind: type[psycopg.Error], sql: str, *texts: str) -> None:
    with pytest.raises(kind) as caught:
        session.execute(sql)
    diag = caught.value.diag
    assert diag.message_primary and diag.message_detail and diag.message_hint, caught.value
    for text in texts:
        assert text in f"{diag.message_primary}\n{diag.message_detail}\n{diag.message_hint}"


def days(db: Database, *offsets: int) -> list[dict[str, list[str]]]:
    """The days so many days from today on."""
    return [{"days": [db.one("SELECT (current_date + %s)::text", [offset]) for offset in offsets]}]


def status(db: Database) -> Any:
    return db.rows("SELECT status, status_reason, next_run_at FROM automate.task WHERE name = 'k'")[0]


def test_a_task_leaves_out_what_is_in_its_calendar_and_follows_it(utc: Database) -> None:
    db = utc
    create(db, "off", days(db, 0, 1, 2))
    task(db)
    assert db.one(NEXT, [3])
    assert db.one("SELECT automate.alter_calendar('off', %s)", [json.dumps(days(db, 0, 1, 2, 3, 4))]) == 2
    assert db.one(NEXT, [5])
    # What is rolled back never was, also for the session that has seen it.
    with db.admin.transaction(force_rollback=True):
        db.execute("SELECT automate.alter_calendar('off', %s)", [json.dumps(days(db, 0))])
        assert db.one(NEXT, [1])
    assert db.one(NEXT, [5])
    db.execute("SELECT automate.alter_calendar('off', %s)", [json.dumps(days(db, 0, 1))])
    assert db.one(NEXT, [2])
    found = db.rows("SELECT run_at::date - current_date FROM automate.next_runs(%s, 2)", [DAILY])
    assert found == [(2,), (3,)]


def test_only_what_is_in_a_calendar(utc: Database) -> None:
    db = utc
    create(db, "open", days(db, 5, 7))
    task(db, schedule=DAILY.replace('"except"', '"only"').replace("off", "open"))
    assert db.one(NEXT, [5])
    db.execute("SELECT automate.alter_calendar('open', %s)", [json.dumps(days(db, 9))])
    assert db.one(NEXT, [9])
    db.execute("""SELECT automate.alter_calendar('open', '[{"days": ["2020-01-01"]}]')""")
    assert status(db) == ("disabled", "its schedule has no further run", None)


def test_paused_tasks_follow_and_due_ones_stay_due(utc: Database) -> None:
    db = utc
    create(db, "off", days(db, 0, 1))
    task(db)
    db.execute("SELECT automate.pause_task('k')")
    db.execute("SELECT automate.alter_calendar('off', %s)", [json.dumps(days(db, 0, 1, 2))])
    assert db.one(NEXT, [3]) and status(db)[0] == "paused"
    db.execute("SELECT automate.resume_task('k')")
    assert db.one(NEXT, [3]) and status(db)[0] == "active"


def test_the_clock_follows(utc: Database) -> None:
    """A change lets a task run at once, in the session of the coordinator, which has the old calendar."""
    db = utc
    db.execute("CREATE TABLE log (at timestamptz DEFAULT clock_timestamp())")
    create(db, "off", [{"weekdays": "mon-sun", "hours": "00:00-24:00"}, {"days": ["12-25"]}])
    schedule = '{"any": ["* * * * * *", {"at": "2999-01-01"}], "except": [{"calendar": "off"}]}'
    refused(db, psycopg.errors.InvalidParameterValue, f"SELECT automate.schedule_task('k', 'sql', '{schedule}', 'SELECT 1')", "no run to come")
    db.execute("SELECT automate.alter_calendar('off', %s)", [json.dumps([{"from": "2020-01-01", "until": "2998-01-01"}])])
    db.execute("SELECT automate.schedule_task('k', 'sql', %s, 'INSERT INTO log DEFAULT VALUES')", [schedule])
    assert db.one("SELECT next_run_at >= '2998-01-01' FROM automate.task")
    for _ in range(2):
        db.execute("""SELECT automate.alter_calendar('off', '[{"days": ["2020-01-01"]}]')""")
        count = db.one("SELECT count(*) FROM log")
        db.wait_until("SELECT count(*) > %s FROM log", [count])
        db.execute("SELECT automate.alter_calendar('off', %s)", [json.dumps([{"from": "2020-01-01", "until": "2998-01-01"}])])
        db.wait_until("SELECT next_run_at >= '2998-01-01' FROM automate.task")


def test_a_calendar_in_use_stays(db: Database) -> None:
    create(db, "off", [{"weekdays": "sun"}])
    nested = '{"any": [' + DAILY + ', "0 9 1 * *"]}'
    task(db, "one")
    task(db, "two", nested)
    db.execute("SELECT automate.schedule_task('three', 'sql', '0 8 * * *', 'SELECT 1')")
    refused(db, psycopg.errors.DependentObjectsStillExist, "SELECT automate.drop_calendar('off')", 'It is used by task "one", task "two".')
    db.execute("SELECT automate.alter_calendar('off', new_name => 'closed')")
    assert db.one("""SELECT count(*) FROM automate.task WHERE jsonb_path_exists(schedule, '$.** ? (@.calendar == "closed")')""") == 2
    db.execute("SELECT automate.unschedule_task('one'), automate.unschedule_task('two')")
    db.execute("SELECT automate.drop_calendar('closed')")
    assert db.one("SELECT count(*) FROM automate.calendar") == 0


def test_what_defines_by_a_calendar_and_what_changes_it_wait_for_each_other(utc: Database) -> None:
    db = utc
    create(db, "off", days(db, 0, 1))
    first, second = db.connect(autocommit=False), db.connect()
    first.execute("SET TimeZone = 'UTC'")
    task(first)
    second.execute("SET lock_timeout = '100ms'")
    for call in ("alter_calendar('off', '[{\"weekdays\": \"mon\"}]')", "drop_calendar('off')"):
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute(f"SELECT automate.{call}")
    # Those who only look do not wait, and keep nobody waiting.
    assert len(second.execute("SELECT FROM automate.next_runs(%s)", [DAILY]).fetchall()) == 5
    first.commit()
    second.execute("SELECT automate.alter_calendar('off', %s)", [json.dumps(days(db, 0, 1, 2))])
    assert db.one(NEXT, [3])


def test_rights(db: Database, role: Role) -> None:
    ann, bob, team = role("ann"), role("bob"), role("team")
    db.execute(f'GRANT "{team}" TO "{ann}"')
    of_ann, of_bob, of_team = db.connect(ann), db.connect(bob), db.connect(team)
    create(of_team, "off", [{"weekdays": "sat,sun"}])
    create(of_bob, "offf", [{"weekdays": "mon"}])
    task(of_ann)
    assert of_bob.execute("SELECT name FROM automate.calendar").fetchall() == [("offf",)]
    # Neither by its name nor by its id, and the near name is not told.
    (kept,) = db.rows("SELECT schedule::text FROM automate.task")[0]
    call = "SELECT automate.schedule_task('k', 'sql', '{}', 'SELECT 1')"
    refused(of_bob, psycopg.errors.UndefinedObject, call.format(DAILY), 'calendar "off" does not exist', 'Did you mean "offf"?')
    refused(of_bob, psycopg.errors.UndefinedObject, call.format(kept), 'calendar "off" does not exist')
    refused(of_bob, psycopg.errors.UndefinedObject, "SELECT * FROM automate.next_runs('" + DAILY + "')", 'Did you mean "offf"?')
    for call in ("alter_calendar('off', description => 'x')", "drop_calendar('off')"):
        refused(of_bob, psycopg.errors.UndefinedObject, f"SELECT automate.{call}", "does not exist")
    # The owner of a calendar need not see who uses it; who has the owner's privileges may change it.
    refused(of_team, psycopg.errors.DependentObjectsStillExist, "SELECT automate.drop_calendar('off')", "It is used by 1 of other roles.")
    of_ann.execute("SELECT automate.alter_calendar('off', description => 'weekends')")
    # What was defined goes on when the right is lost; nothing new can be.
    db.execute(f'REVOKE "{team}" FROM "{ann}"')
    of_team.execute("SELECT automate.alter_calendar('off', '[{\"weekdays\": \"sat\"}]')")
    assert db.one("SELECT status FROM automate.task") == "active"
    with pytest.raises(psycopg.errors.UndefinedObject):
        task(of_ann, "other")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        of_ann.execute("UPDATE automate.calendar SET entries = '[]'")


def test_refusals(db: Database) -> None:
    create(db, "off", [{"weekdays": "sun"}])
    bad, dup = psycopg.errors.InvalidParameterValue, psycopg.errors.DuplicateObject
    for entries, text in (
        ("[]", '"entries" is empty'),
        ('[{"day": ["12-25"]}]', 'Did you mean "days"?'),
        ('[{"calendar": "other"}]', "a calendar cannot name another"),
        ('[{"weekdays": "sun"}, {"days": ["25.12."]}]', 'member 2 of "entries": cannot read the day "25.12."'),
        ('[{"rrule": "FREQ=MONTHLY"}]', "from"),
    ):
        refused(db, bad, f"SELECT automate.create_calendar('x', '{entries}')", text)
        refused(db, bad, f"SELECT automate.alter_calendar('off', '{entries}')", text)
    refused(db, bad, """SELECT automate.create_calendar('x', '{"weekdays": "sun"}', 'Europe/Zurrich')""", 'Did you mean "Europe/Zurich"?')
    refused(db, bad, """SELECT automate.create_calendar(' ', '{"weekdays": "sun"}')""", "must not be empty")
    refused(db, dup, """SELECT automate.create_calendar('off', '{"weekdays": "sun"}')""", "already exists")
    create(db, "x", {"weekdays": "sun"})
    refused(db, dup, "SELECT automate.alter_calendar('x', new_name => 'off')", "already exists")
    refused(db, psycopg.errors.UndefinedObject, "SELECT automate.drop_calendar('of')", 'Did you mean "off"?')
    assert db.one("SELECT entries FROM automate.calendar WHERE name = 'off'") == [{"weekdays": "sun"}]


def test_the_audit_tells(db: Database) -> None:
    create(db, "off", {"weekdays": "sat,sun"}, ", 'Europe/Zurich', 'weekends'")
    db.execute("""SELECT automate.alter_calendar('off', '{"weekdays": "fri-sun"}', 'UTC')""")
    db.execute("SELECT automate.drop_calendar('off')")
    found = db.rows("SELECT action, old, new FROM automate.audit WHERE kind = 'calendar' AND name = 'off' ORDER BY id")
    assert found[0] == ("create", None, {"name": "off", "entries": [{"weekdays": "sat,sun"}], "time_zone": "Europe/Zurich", "description": "weekends"})
    assert found[1] == (
        "alter", {"entries": [{"weekdays": "sat,sun"}], "time_zone": "Europe/Zurich"},
        {"entries": [{"weekdays": "fri,sat,sun"}], "time_zone": "UTC"},
    )
    assert found[2][0] == "drop" and found[2][2] is None


def test_a_dump_keeps_them(cluster: Any, utc: Database, bare_db_2: Database) -> None:
    db = utc
    create(db, "off", days(db, 0, 1))
    task(db)
    where = ["--host", cluster.socket, "--port", cluster.port, "--username", "postgres"]
    file = cluster.base / "data" / "calendars.dump"
    cluster.run("pg_dump", *where, "--format=custom", "--file", file, db.name)
    cluster.run("pg_restore", *where, "--exit-on-error", "--dbname", bare_db_2.name, file)
    rows = "SELECT to_jsonb(c)::text FROM automate.calendar AS c"
    assert bare_db_2.rows(rows) == db.rows(rows) != []
    bare_db_2.execute("SET TimeZone = 'UTC'")
    bare_db_2.execute("SELECT automate.resume()")
    bare_db_2.execute("SELECT automate.alter_calendar('off', %s)", [json.dumps(days(db, 0, 1, 2))])
    assert bare_db_2.one(NEXT, [3])
    assert db.one(NEXT, [2])


def test_a_hostile_search_path_changes_nothing(db: Database, role: Role) -> None:
    mallory = db.connect(role("mallory"))
    mallory.execute("""CREATE FUNCTION public.jsonb_path_exists(jsonb, jsonpath) RETURNS boolean
                       LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''hijacked''; END'""")
    mallory.execute("SET search_path = public, pg_catalog")
    create(mallory, "off", {"weekdays": "sun"})
    task(mallory)
    mallory.execute("""SELECT automate.alter_calendar('off', '{"weekdays": "mon"}')""")
    refused(mallory, psycopg.errors.DependentObjectsStillExist, "SELECT automate.drop_calendar('off')", 'task "k"')


# -- docs/schedules.md ---------------------------------------------------------------------------


def test_the_examples_of_the_document_run(db: Database, role: Role) -> None:
    text = (ROOT / "docs" / "schedules.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 7
    session = db.connect(role("reader"))
    session.execute("SET TimeZone = 'UTC'")
    shown = 0
    for example in examples:
        # What the document shows behind a statement is what it answers.
        for statement in re.findall(r"^SELECT.*?;\n(?:--  [^\n]*\n)*", example, re.DOTALL | re.MULTILINE):
            sql, _, answer = statement.partition(";\n")
            rows = session.execute(sql).fetchall()
            assert rows or "mon-sun" in sql, sql
            expected = [line.removeprefix("--  ") for line in answer.splitlines()]
            if expected:
                found = [" | ".join(re.sub(r"\+00:00$", "+00", str(cell)) for cell in row) for row in rows]
                assert found == expected, sql
                shown += 1
    assert shown == 6
