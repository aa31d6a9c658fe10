"""doctor(): each finding when there is a reason for it, and none when there is none."""

from __future__ import annotations

import psycopg
import pytest

from support.jobs import enqueue, failed


def findings(session) -> dict[str, tuple[str, str, str]]:
    """Severity, finding and remedy by subject, without what is said of the test server itself."""
    rows = session.execute("SELECT * FROM automate.doctor()").fetchall()
    return {row[1]: (row[0], row[2], row[3]) for row in rows if row[1] not in ("fsync", "old transaction")}


def test_all_is_well(db):
    db.wait_until("SELECT count(*) = 1 FROM automate.activity WHERE worker = 'coordinator'")
    assert findings(db) == {}
    # The test server runs without fsync, which a person wants to know.
    assert db.one("SELECT severity FROM automate.doctor() WHERE subject = 'fsync'") == "warning"


def test_what_went_wrong_is_found_with_its_remedy(db):
    db.execute("CREATE TABLE t (a int)")
    db.execute(
        """
        SELECT automate.create_rule('ratio', on_table => 't', condition => '1 / new.a > 0',
                                    actions => '[{"sql": "SELECT 1"}]');
        SELECT automate.create_workflow('w', '{"do": [{"a": {"raise": {"error": {
            "type": "https://example.com/no", "status": 400, "title": "no", "detail": "out of stock"}}}}]}');
        """
    )
    db.execute("INSERT INTO t VALUES (0)")
    dead = enqueue(db, "SELECT 1 / 0")
    failed(db, dead, "22012")
    run = db.one("SELECT automate.execute_workflow('w')")
    db.wait_until("SELECT status = 'faulted' FROM automate.run WHERE id = %s", [run])
    db.wait_until("SELECT errors = 1 FROM automate.rule")
    found = findings(db)
    assert found["dead letters"] == (
        "warning", "failed jobs of sql in the last day: 1, last: 22012: division by zero",
        f"SELECT automate.retry_job('{dead}')",
    )
    assert "out of stock" in found["workflow w"][1] and str(run) in found["workflow w"][2]
    assert found["rule ratio"][0] == "notice" and "division by zero" in found["rule ratio"][1]
    # The remedies are statements that run.
    db.execute(found["dead letters"][2])
    assert db.execute(found["workflow w"][2]).fetchall()[0][0] == "/do/0/a"


def test_a_paused_database_and_waiting_work(db, role):
    ann = role("ann")
    db.execute("SELECT automate.limit_role(%s::regrole, queued => 1)", [ann])
    db.execute("SELECT automate.pause('upgrade tonight')")
    hers = db.connect(ann)
    enqueue(hers, "SELECT 1")
    db.execute("UPDATE automate.job SET run_at = now() - interval '2 hours'")
    found = findings(db)
    assert found["pause"] == ("warning", "nothing runs: upgrade tonight", "SELECT automate.resume()")
    assert f"ready jobs of {ann} that wait: 1, the oldest since 02:00:0" in found["queue"][1]
    assert f"{ann} has as many jobs waiting as its limit of 1 allows" in found["limit"][1]
    # Another tenant sees the pause, and nothing of Ann's.
    assert set(findings(db.connect(role("bob")))) == {"pause"}


def test_a_copy_is_named(db):
    db.execute("UPDATE automate.instance SET system_identifier = '1'")
    assert findings(db)["copy"][0] == "error"


def test_too_few_places_for_workers(db):
    db.execute("SET automate.max_executors = 64")
    severity, finding, remedy = findings(db)["max_worker_processes"]
    assert severity == "warning" and "64 executors" in finding and "max_worker_processes = 72" in remedy


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ("10.0.0.0/99", "no CIDR block"),
        ("https://example.com", "it is a URL"),
        ("example.com:443", "a port cannot be listed"),
        ("exa mple.com", "exa mple.com"),
    ],
)
def test_a_bad_allow_list_is_refused_where_it_is_set(db, value, detail):
    with pytest.raises(psycopg.errors.InvalidParameterValue) as error:
        db.execute(f"SET automate.network_allow = '{value}'")
    assert detail in error.value.diag.message_detail and error.value.diag.message_hint
    assert db.one("SHOW automate.network_allow") == "127.0.0.1, ::1, localhost"
