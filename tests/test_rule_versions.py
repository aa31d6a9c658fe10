"""The life of a rule: drafts, versions, publishing, going back, and who did it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import psycopg
import pytest

from support.database import Database
from test_events import done
from test_rule_insight import check_refusal
from test_rules import noted, orders, rule  # noqa: F401

VERSIONS = "SELECT version, status, definition->>'condition', note FROM automate.rule_version ORDER BY version"
AUDIT = "SELECT action, old, new FROM automate.rule_audit ORDER BY id"


def alter(db: Database, condition: str, draft: bool = False, name: str = "big") -> int:
    return db.one("SELECT automate.alter_rule(%s, condition => %s, draft => %s)", [name, condition, draft])


def publish(db: Database, name: str = "big") -> int:
    return db.one("SELECT automate.publish_rule(%s)", [name])


@pytest.fixture
def big(orders: Database) -> Iterator[Database]:  # noqa: F811
    rule(orders, "big", "new.amount > 100")
    yield orders


def test_a_draft_is_not_evaluated_until_it_is_published(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "big", "new.amount > 100", draft=True)
    assert db.rows("SELECT status, version FROM automate.rule") == [("draft", 1)]
    db.execute("INSERT INTO orders VALUES (1, 'new', 500)")
    assert noted(db) == []
    # A draft can be looked into and altered, but neither enabled nor disabled.
    assert db.one("SELECT matched FROM automate.backtest_rule('big')") == 1
    assert alter(db, "new.amount > 200") == 2
    for call in ("enable_rule", "disable_rule"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
            db.execute(f"SELECT automate.{call}('big')")
        check_refusal(refused.value, "55000", "is a draft", "publish_rule")
    assert db.rows("SELECT status, version FROM automate.rule") == [("draft", 2)]
    assert db.one("SELECT automate.publish_rule('big', 'for the spring')") == 2
    assert db.rows("SELECT status, version FROM automate.rule") == [("active", 2)]
    assert db.rows(VERSIONS) == [
        (1, "retired", "new.amount > 100", None), (2, "published", "new.amount > 200", "for the spring"),
    ]
    db.execute("INSERT INTO orders VALUES (2, 'new', 150), (3, 'new', 500)")
    assert noted(db) == [("big", "insert", 3)]


def test_a_draft_of_a_disabled_rule_and_one_of_a_disabled_draft(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "rests", draft=True, enabled=False)
    publish(db, "rests")
    assert db.one("SELECT status FROM automate.rule") == "disabled"
    alter(db, "true", True, "rests")
    publish(db, "rests")
    assert db.one("SELECT status FROM automate.rule") == "disabled"
    alter(db, "new.id > 0", True, "rests")
    db.execute("SELECT automate.enable_rule('rests')")
    publish(db, "rests")
    assert db.one("SELECT status FROM automate.rule") == "active"


def test_the_version_in_force_stays_while_a_draft_is_written(big: Database) -> None:
    db = big
    assert alter(db, "new.amount > 200", draft=True) == 2
    assert db.one("SELECT automate.alter_rule('big', priority => 7, draft => true)") == 3
    assert db.rows("SELECT version, condition, priority FROM automate.rule") == [(1, "new.amount > 100", 100)]
    db.execute("INSERT INTO orders VALUES (1, 'new', 150)")
    assert noted(db) == [("big", "insert", 1)]
    assert publish(db) == 3
    assert db.rows("SELECT version, condition, priority FROM automate.rule") == [(3, "new.amount > 200", 7)]
    assert [row[1] for row in db.rows(VERSIONS)] == ["retired", "retired", "published"]
    db.execute("INSERT INTO orders VALUES (2, 'new', 150)")
    assert noted(db) == [("big", "insert", 1)]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
        publish(db)
    check_refusal(refused.value, "55000", "no draft to publish", "Version 3 is in force", "draft => true")


def test_a_draft_does_not_undo_a_later_change(big: Database) -> None:
    db = big
    alter(db, "new.amount > 200", draft=True)
    assert alter(db, "new.amount > 300") == 3
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
        publish(db)
    check_refusal(refused.value, "55000", "version 3", "The draft is version 2")
    assert db.one("SELECT automate.alter_rule('big', draft => true)") == 4
    assert publish(db) == 4
    assert db.one("SELECT condition FROM automate.rule") == "new.amount > 200"


def test_publish_runs_the_test_cases_on_the_draft(big: Database) -> None:
    db = big
    db.execute("""SELECT automate.add_rule_test('big', 'large', '{"amount": 101}')""")
    db.execute("""SELECT automate.add_rule_test('big', 'at the limit', '{"amount": 100}', matches => false)""")
    assert alter(db, "new.amount >= 100", draft=True) == 2
    # The version in force passes, the draft does not.
    assert all(row[1] for row in db.rows("SELECT * FROM automate.test_rule('big')"))
    tests = db.rows("SELECT * FROM automate.test_rule('big', 2)")
    assert tests[0] == ("at the limit", False, "no match", "match") and tests[1][1]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
        publish(db)
    check_refusal(refused.value, "55000", 'rule "big" fails 1 of its 2 test cases',
                  '"at the limit": expected no match, got match', "add_rule_test")
    # So does a change that would be in force at once.
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        alter(db, "1 / (new.amount - 100) > 0")
    assert db.one("SELECT version FROM automate.rule") == 1
    assert db.one("SELECT count(*) FROM automate.rule_version") == 2
    db.execute("""SELECT automate.add_rule_test('big', 'at the limit', '{"amount": 100}')""")
    assert publish(db) == 2
    with pytest.raises(psycopg.errors.UndefinedObject) as unknown:
        db.execute("SELECT automate.test_rule('big', 9)")
    check_refusal(unknown.value, "42704", "no version 9", "1 to 2")


def test_rollback(big: Database) -> None:
    db = big
    alter(db, "new.amount > 200")
    alter(db, "new.amount > 300", draft=True)
    assert db.one("SELECT automate.rollback_rule('big')") == 4
    assert db.rows("SELECT version, condition FROM automate.rule") == [(4, "new.amount > 100")]
    assert db.rows(VERSIONS)[3] == (4, "published", "new.amount > 100", "back to version 1")
    assert db.one("SELECT status FROM automate.rule_version WHERE version = 3") == "draft"
    for version, text in ((4, "is in force"), (3, "never in force"), (7, "no version 7")):
        with pytest.raises(psycopg.Error) as refused:
            db.execute("SELECT automate.rollback_rule('big', %s)", [version])
        check_refusal(refused.value, "42704" if version == 7 else "55000", text)
    assert db.one("SELECT automate.rollback_rule('big', 2)") == 5
    db.execute("INSERT INTO orders VALUES (1, 'new', 150), (2, 'new', 250)")
    assert noted(db) == [("big", "insert", 2)]


def test_rollback_checks_anew_and_follows_a_rename(big: Database) -> None:
    db = big
    alter(db, "new.note IS NULL")
    alter(db, "new.amount > 200")
    db.execute("ALTER TABLE orders DROP COLUMN note")
    db.execute("ALTER TABLE orders RENAME TO purchases")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        db.execute("SELECT automate.rollback_rule('big', 2)")
    assert db.one("SELECT version FROM automate.rule") == 3
    assert db.one("SELECT automate.rollback_rule('big', 1)") == 4
    db.execute("SELECT automate.disable_rule('big')")
    db.execute("SELECT automate.rollback_rule('big', 3)")
    assert db.one("SELECT status FROM automate.rule") == "disabled"
    db.execute("""SELECT automate.enable_rule('big')""")
    db.execute("""SELECT automate.add_rule_test('big', 'large', '{"amount": 101}', matches => false)""")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        db.execute("SELECT automate.rollback_rule('big', 1)")


def test_a_version_keeps_its_search_path(orders: Database) -> None:  # noqa: F811
    db = orders
    db.execute("CREATE SCHEMA one")
    db.execute("CREATE FUNCTION one.limit_of(x numeric) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT x > 100'")
    with db.admin.transaction():
        db.execute("SET LOCAL search_path = one, public")
        rule(db, "big", "limit_of(new.amount)", draft=True)
    assert publish(db) == 1
    assert alter(db, "true") == 2
    assert db.one("SELECT automate.rollback_rule('big')") == 3
    assert db.one("SELECT search_path FROM automate.rule") == "one, public, pg_temp"
    db.execute("INSERT INTO orders VALUES (1, 'new', 150), (2, 'new', 50)")
    assert noted(db) == [("big", "insert", 1)]


def test_a_version_is_everything_that_was_defined(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "all", "new.amount > 1", operations=["update"], columns=["status"], priority=-3, stop=True,
         valid_from="2020-01-01 00:00+01", valid_until="infinity", on_error="fail", description="for people")
    version = db.one("SELECT definition FROM automate.rule_version")
    assert version["on_table"] == "public.orders" and version["operations"] == ["update"]
    assert version["valid_from"] == "2019-12-31T23:00:00.000000Z" and version["valid_until"] == "infinity"
    row = "SELECT to_jsonb(r) - '{version,updated_at}'::text[] FROM automate.rule AS r"
    before = db.one(row)
    db.execute("SELECT automate.alter_rule('all', operations => '{insert,update}', stop => false, priority => 1)")
    db.execute("SELECT automate.alter_rule('all', valid_until => '2030-01-01', columns => '{note}', on_error => 'skip')")
    db.execute("SELECT automate.rollback_rule('all', 1)")
    assert db.one(row) == before


def test_the_audit_tells_who_did_what(orders: Database, role) -> None:  # noqa: F811
    db = orders
    ann, boss = role("ann"), role("boss")
    db.execute(f"GRANT SELECT, TRIGGER ON orders TO {ann}")
    db.execute(f"GRANT {ann} TO {boss}")
    session = db.connect(ann, application_name="editor")
    call = "SELECT automate.create_rule('big', '[{\"emit\": \"e\"}]', on_table => 'orders', condition => 'new.amount > 1')"
    session.execute(call)
    db.connect(boss).execute("SELECT automate.alter_rule('big', condition => 'new.amount > 2', priority => 5)")
    session.execute("SELECT automate.disable_rule('big')")
    session.execute("SELECT automate.enable_rule('big')")
    session.execute("SELECT automate.add_rule_test('big', 't', '{\"amount\": 9}')")
    session.execute("SELECT automate.drop_rule_test('big', 't')")
    session.execute("SELECT automate.alter_rule('big', stop => true, draft => true)")
    session.execute("SELECT automate.publish_rule('big')")
    session.execute("SELECT automate.rollback_rule('big')")
    session.execute("SELECT automate.drop_rule('big')")
    entries = session.execute(AUDIT).fetchall()
    assert [entry[0] for entry in entries] == [
        "create", "alter", "disable", "enable", "add test", "drop test", "draft", "publish", "rollback", "drop",
    ]
    assert entries[0][1] is None and entries[0][2]["condition"] == "new.amount > 1"
    assert entries[1][1:] == ({"condition": "new.amount > 1", "priority": 100}, {"condition": "new.amount > 2", "priority": 5})
    assert entries[4][2]["new"] == {"amount": 9} and entries[5][1]["name"] == "t"
    assert entries[7][1:] == ({"stop": False}, {"stop": True})
    assert entries[8][1:] == ({"stop": True}, {"stop": False})
    assert entries[9][1]["condition"] == "new.amount > 2" and entries[9][2] is None
    who = "SELECT by_role, by_session, application, owner::text FROM automate.rule_audit WHERE action IN ('create', 'alter') ORDER BY id"
    assert session.execute(who).fetchall() == [(ann, ann, "editor", ann), (boss, boss, None, ann)]
    # It outlives the rule, and is the owner's alone.
    assert db.connect(role("stranger")).execute("SELECT count(*) FROM automate.audit").fetchone() == (0,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("DELETE FROM automate.audit")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("UPDATE automate.rule_version SET status = 'draft'")


def test_what_is_rolled_back_leaves_nothing(big: Database) -> None:
    db = big
    with pytest.raises(psycopg.errors.DivisionByZero), db.admin.transaction():
        alter(db, "new.amount > 200")
        db.execute("SELECT 1 / 0")
    assert [row[0] for row in db.rows(VERSIONS)] == [1]
    assert [row[0] for row in db.rows(AUDIT)] == ["create"]


def test_the_server_notes_what_it_found_broken(big: Database) -> None:
    db = big
    db.execute("ALTER TABLE orders DROP COLUMN amount")
    assert db.one("SELECT status FROM automate.rule") == "broken"
    action, old, new = db.rows(AUDIT)[-1]
    assert action == "broken" and "amount" in new["last_error"] and old is None
    assert db.one("SELECT by_role FROM automate.rule_audit WHERE action = 'broken'") is None


def test_a_rule_that_follows_a_rename_has_a_version_of_it(big: Database) -> None:
    db = big
    before = db.one("SELECT condition FROM automate.rule")
    db.execute("SELECT automate.alter_rule('big', condition => 'new.amount > 200', draft => true)")
    db.execute("ALTER TABLE orders RENAME COLUMN amount TO total")
    assert [row[:2] for row in db.rows(VERSIONS)] == [(1, "retired"), (2, "draft"), (3, "published")]
    condition = db.one("SELECT condition FROM automate.rule")
    assert condition == before.replace("amount", "total") or "total" in condition
    assert db.one("SELECT definition->>'condition' FROM automate.rule_version WHERE version = 3") == condition
    assert db.one("SELECT version FROM automate.rule") == 3
    action, old, new = db.rows(AUDIT)[-1]
    assert (action, old, new) == ("follow", {"condition": before}, {"condition": condition})


def test_two_sessions_alter_one_rule_one_after_the_other(big: Database) -> None:
    db = big
    first, second = db.connect(autocommit=False), db.connect()
    first.execute("SELECT automate.alter_rule('big', priority => 1)")
    pid = second.info.backend_pid
    thread = threading.Thread(target=lambda: second.execute("SELECT automate.alter_rule('big', stop => true)"))
    thread.start()
    db.wait_until("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [pid])
    first.commit()
    thread.join(10)
    assert db.rows("SELECT version, priority, stop FROM automate.rule") == [(3, 1, True)]
    assert [row[:2] for row in db.rows(VERSIONS)] == [(1, "retired"), (2, "retired"), (3, "published")]


def test_a_draft_on_an_event(db: Database) -> None:
    act = json.dumps([{"emit": "heard"}])
    db.execute("SELECT automate.create_rule('e', %s, on_event => 'told', draft => true)", [act])
    db.execute("SELECT automate.emit_event('told')")
    publish(db, "e")
    db.execute("SELECT automate.emit_event('told')")
    done(db)
    assert db.one("SELECT count(*) FROM automate.event WHERE name = 'heard'") == 1
    db.execute("SELECT automate.alter_rule('e', condition => 'event ? ''x''')")
    assert db.one("SELECT automate.rollback_rule('e')") == 3
    db.execute("SELECT automate.emit_event('told')")
    done(db)
    assert db.one("SELECT count(*) FROM automate.event WHERE name = 'heard'") == 2


@pytest.mark.parametrize("call", ["publish_rule('bgi')", "rollback_rule('bgi')", "alter_rule('bgi', draft => true)"])
def test_names_are_looked_for(big: Database, call: str) -> None:
    with pytest.raises(psycopg.errors.UndefinedObject) as refused:
        big.execute(f"SELECT automate.{call}")
    check_refusal(refused.value, "42704", "bgi", 'Did you mean "big"?')


def test_a_stranger_can_neither_publish_nor_go_back(big: Database, role) -> None:
    alter(big, "true", draft=True)
    stranger = big.connect(role("stranger"))
    for call in ("publish_rule('big')", "rollback_rule('big')", "test_rule('big', 1)"):
        with pytest.raises(psycopg.errors.UndefinedObject):
            stranger.execute(f"SELECT automate.{call}")
    assert stranger.execute("SELECT count(*) FROM automate.rule_version").fetchone() == (0,)


def test_old_entries_of_the_audit_go(new_cluster) -> None:
    server = new_cluster(settings={"automate.audit_retention": "60s"}, fsync=False)
    server.query("SELECT 1")
    # Housekeeping removes by the time in the id.
    with server.connect() as session:
        session.execute("CREATE EXTENSION pg_automate")
        session.execute("CREATE TABLE t (x int)")
        session.execute("SELECT automate.create_rule('r', '[{\"emit\": \"e\"}]', on_table => 't')")
        session.execute("UPDATE automate.audit SET id = '01900000-0000-7000-8000-000000000000'")
    server.restart()
    server.wait_until("SELECT count(*) = 0 FROM automate.audit", deadline=30)
