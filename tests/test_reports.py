"""Reports of real tables: one snapshot, nothing written, nothing spliced, nobody else's rights."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import errors

from support.database import Database

Role = Callable[..., str]

FLIGHTS = """
    CREATE TABLE flights (carrier text, day date, delay numeric, note text);
    INSERT INTO flights VALUES
        ('UA', '2013-01-01', 12.5, NULL), ('AA', '2013-01-01', -3, '<script>alert(1)</script>'),
        ('DL', '2013-01-02', 100, '=HYPERLINK("http://x")'), ('B6', '2013-01-03', NULL, 'a|b' || chr(27) || '[31m')
"""


def definition(sql: str, **more: Any) -> str:
    return json.dumps({
        "title": "Delays",
        "datasets": {"d": {"sql": sql}},
        "layout": [{"table": {"data": "d"}}],
        "formats": ["text", "html", "csv"],
        **more,
    })


def create(db: Database, name: str, definition: str) -> int:
    return db.one("SELECT automate.create_report(%s, %s)", [name, definition])


def refused(db: Database, kind: type[Exception], sql: str, params: list[Any]) -> Any:
    with pytest.raises(kind) as caught:
        db.execute(sql, params)
    return caught.value.diag  # type: ignore[attr-defined]


def rendered(db: Database, name: str, format: str, params: dict[str, Any] | None = None) -> str:
    return db.one(f"SELECT automate.report_{format}(%s, %s)", [name, json.dumps(params or {})])


def run(db: Database, name: str, params: str = "{}", formats: list[str] | None = None) -> Any:
    return db.one("SELECT automate.run_report(%s, %s, %s)", [name, params, formats])


# --- what is shown ------------------------------------------------------------------------------


def test_text_html_and_csv_show_the_table(db: Database) -> None:
    db.execute(FLIGHTS)
    create(db, "delays", definition(
        "SELECT carrier, delay, note FROM flights ORDER BY carrier",
        layout=[
            {"table": {"data": "d", "totals": ["delay"]}},
            {"chart": {"data": "d", "type": "bar", "x": "carrier", "y": "delay"}},
        ],
    ))
    text = rendered(db, "delays", "text")
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    assert ["UA", "12.5", ""] in lines
    assert ["Total", "109.5", ""] in lines
    assert "\x1b" not in text
    html = rendered(db, "delays", "html")
    assert "&lt;script&gt;alert(1)" in html and "<script" not in html
    assert "<svg" in html
    csv = rendered(db, "delays", "csv").split("\r\n")
    assert csv[0] == '"carrier","delay","note"'
    assert csv[1] == '"AA",-3,"<script>alert(1)</script>"'
    assert csv[2].startswith('"B6","","a|b')
    assert csv[3] == '''"DL",100,"'=HYPERLINK(""http://x"")"'''
    assert csv[4] == '"UA",12.5,""'


def test_parameters_are_bound_and_typed(db: Database) -> None:
    db.execute(FLIGHTS)
    create(db, "since", definition(
        "SELECT carrier, $note AS given, pg_typeof($from)::text AS type FROM flights WHERE day >= $from ORDER BY 1",
        params={"from": {"type": "date", "default": "DATE '2013-01-02' - 0 -- a comment"}, "note": {"default": "'x'"}},
        title="Since {{ params.from }}",
    ))
    text = rendered(db, "since", "text")
    assert text.startswith("Since 2013-01-02") and "UA" not in text and "DL" in text
    hostile = "'); DROP TABLE flights; --"
    csv = rendered(db, "since", "csv", {"from": "2013-01-01", "note": hostile})
    assert csv.split("\r\n")[1] == f'"AA","{hostile}","date"'
    assert csv.count("\r\n") == 5
    assert db.one("SELECT count(*) FROM flights") == 4
    call = "SELECT automate.report_text('since', %s)"
    diag = refused(db, errors.InvalidDatetimeFormat, call, ['{"from": "soon"}'])
    assert diag.message_primary.startswith('parameter "from": invalid input syntax for type date')
    diag = refused(db, errors.InvalidParameterValue, call, ['{"form": "2013-01-01"}'])
    assert diag.message_hint == 'Did you mean "from"?'
    create(db, "wanting", definition("SELECT $a AS a", params={"a": {"type": "int"}}))
    diag = refused(db, errors.InvalidParameterValue, "SELECT automate.report_text('wanting', %s)", ["{}"])
    assert diag.message_primary == 'parameter "a" is missing' and diag.message_hint
    assert rendered(db, "wanting", "csv", {"a": 7}) == '"a"\r\n7\r\n'
    assert rendered(db, "wanting", "csv", {"a": None}) == '"a"\r\n""\r\n'


def test_rows_beyond_the_limit_are_counted(db: Database) -> None:
    sql = "SELECT n FROM generate_series(1, 2500) AS n"
    create(db, "many", definition(sql, datasets={"d": {"sql": sql, "max_rows": 1500}}))
    assert "of 2500 rows" in rendered(db, "many", "text")
    assert rendered(db, "many", "csv").count("\r\n") == 1501


def test_what_is_shown_does_not_depend_on_the_session(db: Database) -> None:
    db.execute("CREATE SCHEMA other; CREATE TABLE other.t AS SELECT TIMESTAMPTZ '2026-07-01 12:00+00' AS at")
    db.execute("SET search_path = other")
    create(db, "zoned", definition("SELECT at, '1 day'::interval AS i FROM t", time_zone="Europe/Zurich"))
    db.execute("SET search_path = public; SET DateStyle = 'German'; SET TimeZone = 'Asia/Tokyo'; SET IntervalStyle = 'iso_8601'")
    assert '"2026-07-01 14:00:00+02","1 day"' in rendered(db, "zoned", "csv")
    assert db.one("SHOW TimeZone") == "Asia/Tokyo"
    assert db.one("SHOW search_path") == "public"
    run(db, "zoned")
    db.wait_until("SELECT status = 'completed' FROM automate.report_run")


# --- in the background --------------------------------------------------------------------------


def test_run_writes_files(db: Database) -> None:
    db.execute(FLIGHTS)
    create(db, "delays", definition("SELECT carrier FROM flights ORDER BY 1"))
    done = run(db, "delays")
    one = run(db, "delays", formats=["csv"])
    db.wait_until("SELECT bool_and(status = 'completed') FROM automate.report_run")
    for format in ("text", "html", "csv"):
        got = bytes(db.one("SELECT automate.report_file(%s, %s)", [done, format])).decode()
        assert "UA" in got
    assert got == rendered(db, "delays", "csv")
    rows, version, kept = db.rows(
        "SELECT rows, version, as_of BETWEEN created_at AND finished_at FROM automate.report_run WHERE id = %s", [done]
    )[0]
    assert (rows, version, kept) == (4, 1, True)
    diag = refused(db, errors.UndefinedObject, "SELECT automate.report_file(%s, 'html')", [one])
    assert "csv" in diag.message_hint
    refused(db, errors.InvalidParameterValue, "SELECT automate.report_file(%s, 'pdf')", [one])
    refused(db, errors.InvalidParameterValue, "SELECT automate.run_report('delays', '{}', %s)", [["pdf"]])


def test_large_files_come_back_whole(db: Database) -> None:
    sql = "SELECT n, repeat(md5(n::text), 10) AS text FROM generate_series(1, 10000) AS n"
    create(db, "large", definition(sql, formats=["csv"]))
    done = run(db, "large")
    db.wait_until("SELECT status = 'completed' FROM automate.report_run", deadline=30)
    assert db.one("SELECT count(*) FROM automate.report_file WHERE run = %s", [done]) == 4
    same = "SELECT convert_from(automate.report_file(%s, 'csv'), 'UTF8') = automate.report_csv('large')"
    assert db.one(same, [done])


def test_datasets_share_one_snapshot(db: Database) -> None:
    db.execute("CREATE TABLE t AS SELECT n FROM generate_series(1, 3) AS n")
    datasets = {
        "a": {"sql": "SELECT count(*) AS n FROM t"},
        "b": {"sql": "SELECT pg_advisory_xact_lock_shared(77)::text AS n"},
        "c": {"sql": "SELECT count(*) AS n FROM t"},
    }
    layout = [{"table": {"data": "a"}}, {"table": {"data": "c"}}]
    for data in ("a", "c"):
        create(db, data, definition("", datasets=datasets, layout=layout, formats=["csv"], csv={"data": data}))
    # The report waits between its datasets while somebody writes.
    db.execute("SELECT pg_advisory_lock(77)")
    done = run(db, "c")
    waits = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND NOT granted"
    db.wait_until(waits)
    db.execute("INSERT INTO t VALUES (4)")
    db.execute("SELECT pg_advisory_unlock(77)")
    db.wait_until("SELECT status = 'completed' FROM automate.report_run")
    assert bytes(db.one("SELECT automate.report_file(%s, 'csv')", [done])) == b'"n"\r\n3\r\n'
    assert rendered(db, "a", "csv") == '"n"\r\n4\r\n'


def test_failure_is_told_with_the_dataset(db: Database) -> None:
    db.execute(FLIGHTS)
    create(db, "bad", definition("SELECT 1 / (delay - 100) AS x FROM flights"))
    failed = run(db, "bad")
    error = db.wait_until("SELECT error FROM automate.report_run WHERE status = 'failed'")
    assert error.startswith('22012: dataset "d": division by zero')
    db.wait_until("SELECT EXISTS (SELECT FROM automate.job_history WHERE kind = 'report' AND status = 'failed')")
    diag = refused(db, errors.ObjectNotInPrerequisiteState, "SELECT automate.report_file(%s, 'csv')", [failed])
    assert "division by zero" in diag.message_detail


def test_timeout_of_a_dataset(db: Database) -> None:
    sql = "SELECT pg_sleep(600)::text AS s"
    create(db, "slow", definition(sql, datasets={"d": {"sql": sql, "timeout": "50 ms"}}))
    diag = refused(db, errors.QueryCanceled, "SELECT automate.report_text(%s)", ["slow"])
    assert diag.message_primary == 'dataset "d": canceling statement due to statement timeout'
    run(db, "slow")
    db.wait_until("SELECT status = 'failed' AND error LIKE '57014: dataset \"d\":%%' FROM automate.report_run")
    # The limit in force before is in force again.
    create(db, "fast", definition("SELECT 1 AS a"))
    db.execute("SET statement_timeout = '200 ms'")
    with pytest.raises(errors.QueryCanceled):
        db.execute("SELECT automate.report_text('fast'), pg_sleep(600)")


def test_rollback_and_versions(db: Database) -> None:
    assert create(db, "r", definition("SELECT 1 AS a")) == 1
    assert create(db, "r", definition("SELECT 2 AS a")) == 2
    assert rendered(db, "r", "csv") == '"a"\r\n2\r\n'
    with db.connect(autocommit=False) as other:
        other.execute("SELECT automate.run_report('r')")
        other.rollback()
    assert db.one("SELECT count(*) FROM automate.report_run") == 0
    db.execute("SELECT automate.drop_report('r')")
    diag = refused(db, errors.UndefinedObject, "SELECT automate.report_text(%s)", ["r"])
    assert diag.message_primary == 'report "r" does not exist' and diag.message_hint


# --- what is refused when it is defined -----------------------------------------------------------


def test_bad_definitions_are_told_at_once(db: Database) -> None:
    db.execute(FLIGHTS)
    call = "SELECT automate.create_report('r', %s)"
    diag = refused(db, errors.UndefinedTable, call, [definition("SELECT *\nFROM flihgts")])
    assert diag.message_primary == 'dataset "d": relation "flihgts" does not exist'
    assert "line 2, column 6" in diag.message_detail
    diag = refused(db, errors.SyntaxError, call, [definition("SELEC 1")])
    assert "At character 1 " in diag.message_detail
    layout = [{"table": {"data": "d", "totals": ["delya"]}}]
    diag = refused(db, errors.InvalidParameterValue, call, [definition("SELECT delay FROM flights", layout=layout)])
    assert diag.message_hint == 'Did you mean "delay"?'
    diag = refused(db, errors.InvalidParameterValue, call, [definition("SELECT 1", titel="x")])
    assert diag.message_hint == 'Did you mean "title"?'
    params = {"n": {"type": "int", "default": "nothing()"}}
    diag = refused(db, errors.UndefinedFunction, call, [definition("SELECT $n AS a", params=params)])
    assert diag.message_primary.startswith('default of parameter "n"')
    assert db.one("SELECT count(*) FROM automate.report") == 0


@pytest.mark.parametrize("sql", [
    "INSERT INTO flights DEFAULT VALUES RETURNING 1",
    "WITH w AS (DELETE FROM flights RETURNING 1 AS a) SELECT * FROM w",
    "SELECT * FROM flights FOR UPDATE",
    "DROP TABLE flights",
    "SHOW all",
])
def test_dataset_that_writes_is_refused(db: Database, sql: str) -> None:
    db.execute(FLIGHTS)
    diag = refused(db, errors.WrongObjectType, "SELECT automate.create_report('r', %s)", [definition(sql)])
    assert diag.message_primary == 'dataset "d": this is not a query that only reads'
    assert diag.message_hint
    assert db.one("SELECT count(*) FROM flights") == 4


def test_function_that_writes_is_refused(db: Database) -> None:
    db.execute(FLIGHTS)
    db.execute(
        "CREATE FUNCTION sneak() RETURNS int LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM set_config('transaction_read_only', 'off', true); DELETE FROM flights; RETURN 1; END $$"
    )
    db.execute(
        "CREATE FUNCTION plain() RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM flights; RETURN 1; END $$"
    )
    for name in ("sneak", "plain"):
        create(db, name, definition(f"SELECT {name}() AS a"))
        with pytest.raises((errors.ReadOnlySqlTransaction, errors.ActiveSqlTransaction)):
            rendered(db, name, "text")
        run(db, name)
    db.wait_until("SELECT count(*) = 2 FROM automate.report_run WHERE status = 'failed'")
    assert db.one("SELECT count(*) FROM flights") == 4
    # The caller's own transaction writes again afterwards.
    create(db, "ok", definition("SELECT 1 AS a"))
    db.execute("DO $$ BEGIN PERFORM automate.report_text('ok'); DELETE FROM flights; END $$")
    assert db.one("SELECT count(*) FROM flights") == 0


# --- rights -------------------------------------------------------------------------------------


def test_a_role_sees_and_runs_its_own(db: Database, role: Role) -> None:
    ann, bob = role("ann"), role("bob")
    db.execute(FLIGHTS)
    db.execute(f"GRANT SELECT ON flights TO {ann}")
    with db.connect(ann) as session:
        session.execute("SELECT automate.create_report('own', %s)", [definition("SELECT current_user AS who, count(*) FROM flights")])
        done = session.execute("SELECT automate.run_report('own')").fetchone()[0]
    db.wait_until("SELECT status = 'completed' FROM automate.report_run")
    with db.connect(bob) as session:
        for table in ("report", "report_version", "report_run", "report_file"):
            assert session.execute(f"SELECT count(*) FROM automate.{table}").fetchone() == (0,), table  # type: ignore[arg-type]
        for call in ("report_text('own')", "run_report('own')", f"report_file('{done}', 'csv')"):
            with pytest.raises(errors.UndefinedObject):
                session.execute(f"SELECT automate.{call}")  # type: ignore[arg-type]
        with pytest.raises(errors.InsufficientPrivilege):
            session.execute("SELECT automate.create_report('mine', %s)", [definition("SELECT * FROM flights")])
    # Whoever has the owner's privileges gets the report with the owner's rights, not with its own.
    assert ann in rendered(db, "own", "csv")
    db.execute(f"REVOKE SELECT ON flights FROM {ann}")
    diag = refused(db, errors.InsufficientPrivilege, "SELECT automate.report_text(%s)", ["own"])
    assert diag.message_primary == 'dataset "d": permission denied for table flights'
    assert db.one("SELECT current_user") == "postgres"
