"""What a match keeps of the rows, which version of its rule does it, and events as jsonb."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.database import Database
from test_row_json import VALUES, literal

ALL = ["new", "old"]


@pytest.fixture
def stock(db: Database) -> Database:
    db.execute("CREATE TABLE stock (id int PRIMARY KEY, status text, amount numeric, note text)")
    db.execute("CREATE TABLE noted (what jsonb)")
    db.execute("SELECT automate.pause()")
    return db


def note(*params: str, text: str = "INSERT INTO noted VALUES (jsonb_build_array({}))") -> str:
    """An action that notes what some expressions give."""
    places = ", ".join(f"${n + 1}::jsonb" for n in range(len(params)))
    return json.dumps([{"sql": text.format(places), "params": [f"${{ {p} }}" for p in params]}])


def rule(db: Database, name: str, actions: str, **more: Any) -> None:
    more = {"on_table": "stock", "operations": ["insert", "update", "delete"], **more}
    if "on_trigger" in more or "on_event" in more:
        more = {key: value for key, value in more.items() if key not in ("on_table", "operations")}
    names = "".join(f", {key} => %s" for key in more)
    db.execute(f"SELECT automate.create_rule(%s, %s{names})", [name, actions, *more.values()])


def kept(db: Database, name: str) -> list[Any]:
    return db.rows("SELECT payload -> 'kept', payload -> 'new', payload -> 'old' FROM automate.job WHERE source = %s ORDER BY id",
                   [f"rule:{name}"])


def noted(db: Database) -> list[Any]:
    """What has been noted when all is done, which ends the pause."""
    db.execute("SELECT automate.resume()")
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job)", deadline=30)
    return sorted((row[0] for row in db.rows("SELECT what FROM noted")), key=json.dumps)


def test_a_match_keeps_the_columns_that_are_read(stock: Database) -> None:
    db = stock
    rule(db, "none", '[{"emit": "e"}]')
    rule(db, "one", note(".new.id"))
    rule(db, "both", note(".new.id", ".old.status", ".event.op"))
    rule(db, "side", note(".new", ".old.id"))
    rule(db, "all", note(".", ".old"))
    rule(db, "wrong", note(".new.id", ".new.amout"))
    db.execute("INSERT INTO stock VALUES (1, 'a', 1.50, 'n')")
    db.execute("UPDATE stock SET status = 'b'")
    whole = {"id": 1, "status": "b", "amount": 1.50, "note": "n"}
    before = {**whole, "status": "a"}
    assert kept(db, "none") == [([], {}, None), ([], {}, {})]
    assert kept(db, "one") == [(["new.id"], {"id": 1}, None), (["new.id"], {"id": 1}, {})]
    words = ["new.id", "old.status"]
    assert kept(db, "both") == [(words, {"id": 1}, None), (words, {"id": 1}, {"status": "a"})]
    assert kept(db, "side")[1] == (["new", "old.id"], whole, {"id": 1})
    # Who mends the name wants the right column to be there.
    assert kept(db, "all")[1] == kept(db, "wrong")[1] == (ALL, whole, before)
    db.execute("DELETE FROM stock")
    assert kept(db, "both")[2] == (words, None, {"status": "b"})
    assert db.rows("SELECT name, reads FROM automate.rule WHERE name IN ('both', 'all') ORDER BY 1") == [("all", ALL), ("both", words)]


def test_actions_see_what_they_read(stock: Database) -> None:
    rule(stock, "r", note(".new.id", ".old.status", ".new.amount // 0 | . * 2", '"\\(.new.note)!"', ".rule", ".event.table"))
    stock.execute("INSERT INTO stock VALUES (1, 'a', 1.50, 'n')")
    stock.execute("UPDATE stock SET status = 'b', amount = NULL")
    assert noted(stock) == [[1, "a", 0, "n!", "r", "stock"], [1, None, 3.0, "n!", "r", "stock"]]


def test_a_match_is_done_as_its_rule_is_now_if_it_kept_enough(stock: Database) -> None:
    db = stock
    rule(db, "r", note('"old"', ".new.id", ".new.status"))
    db.execute("INSERT INTO stock VALUES (1, 'a')")
    db.execute("SELECT automate.alter_rule('r', actions => %s)", [note('"new"', ".new.status")])
    assert noted(db) == [["new", "a"]]


def test_a_match_that_kept_too_little_is_done_by_the_version_that_matched(stock: Database) -> None:
    db = stock
    rule(db, "r", note('"first"', ".new.id"))
    db.execute("INSERT INTO stock VALUES (1, 'a', 5), (2, 'b', 6)")
    db.execute("SELECT automate.alter_rule('r', actions => %s)", [note('"second"', ".new.id", ".new.amount")])
    db.execute("INSERT INTO stock VALUES (3, 'c', 7)")
    # Of an insert there is no old row that could have been kept.
    db.execute("SELECT automate.alter_rule('r', actions => %s)", [note('"third"', ".new.id", ".new.amount", ".old.note")])
    assert noted(db) == [["first", 1], ["first", 2], ["third", 3, 7, None]]
    versions = db.rows("SELECT result ->> 'version' FROM automate.job_history WHERE source = 'rule:r' ORDER BY 1")
    assert versions == [("1",), ("1",), (None,)]


def test_a_mended_rule_does_what_failed(stock: Database) -> None:
    db = stock
    rule(db, "r", note(".new.id", ".new.amout", text="INSERT INTO noted SELECT jsonb_build_array({}, 1 / (random() * 0)::int)"))
    db.execute("INSERT INTO stock VALUES (1, 'a', 5)")
    db.execute("SELECT automate.resume()")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.job WHERE attempts > 0)")
    db.execute("SELECT automate.alter_rule('r', actions => %s)", [note(".new.id", ".new.amount")])
    assert noted(db) == [[1, 5]]


def test_a_large_column_that_is_not_read_does_not_matter(stock: Database) -> None:
    db = stock
    db.execute("SET automate.max_payload_bytes = '2048'")
    rule(db, "id", note(".new.id", ".event.truncated"))
    rule(db, "note", note(".new.note", ".event.truncated"))
    db.execute("INSERT INTO stock VALUES (1, 'a', 5, repeat('long', 10000))")
    db.execute("RESET automate.max_payload_bytes")
    assert kept(db, "note") == [(ALL, {"id": 1}, None)]
    assert noted(db) == [[1, None], [None, True]]


def test_columns_of_simple_types_beside_others(db: Database) -> None:
    """json may hold what jsonb refuses: no matter, if it is not read."""
    db.execute("CREATE TABLE noted (what jsonb); CREATE TABLE stock (id int, doc json, list int[])")
    db.execute("SELECT automate.pause()")
    rule(db, "id", note(".new.id"))
    rule(db, "list", note(".new.list[0]"))
    db.execute(r"""INSERT INTO stock VALUES (1, '"\u0000"', '{7}'), (2, '1', '{8}')""")
    assert kept(db, "id") == [(["new.id"], {"id": 1}, None), (["new.id"], {"id": 2}, None)]
    assert noted(db) == [[1], [2], [8], [None]]


def test_columns_of_partitions_and_after_a_change_of_the_table(db: Database) -> None:
    db.execute(
        """
        CREATE TABLE noted (what jsonb);
        CREATE TABLE stock (id int, region text, amount int) PARTITION BY LIST (region);
        CREATE TABLE north (amount int, dropped int, region text, id int);
        ALTER TABLE north DROP COLUMN dropped;
        ALTER TABLE stock ATTACH PARTITION north FOR VALUES IN ('north')
        """
    )
    db.execute("SELECT automate.pause()")
    rule(db, "r", note(".new.id", ".new.late"))
    db.execute("INSERT INTO stock VALUES (1, 'north', 5)")
    db.execute("ALTER TABLE stock ADD COLUMN late text DEFAULT 'x'")
    db.execute("INSERT INTO stock VALUES (2, 'north', 5)")
    assert [row[1] for row in kept(db, "r")] == [{"id": 1, "region": "north", "amount": 5}, {"id": 2, "late": "x"}]
    assert noted(db) == [[1, None], [2, "x"]]


def subscribers(db: Database) -> list[Any]:
    return db.rows("""SELECT substr(source, 6), payload -> 'kept', payload #> '{event,payload,new}', payload #> '{event,payload,old}'
                      FROM automate.job WHERE source LIKE 'rule:%%' ORDER BY 1, id""")


def test_subscribers_get_the_columns_that_they_read(stock: Database) -> None:
    db = stock
    db.execute("SELECT automate.create_trigger('t', 'data', on_table => 'stock', operations => '{insert,update}', event => 'changed')")
    rule(db, "asks", note(".new.id"), on_trigger="t", condition="(event #>> '{new,amount}')::numeric > 1")
    rule(db, "event", note(".event.payload.new.id", ".event.old.status"), on_event="changed")
    rule(db, "none", note(".event.name", ".event.payload.op"), on_trigger="t")
    rule(db, "whole", note(".event"), on_trigger="t")
    rule(db, "wrong", note(".new.amout"), on_trigger="t")
    db.execute("INSERT INTO stock VALUES (1, 'a', 5, 'n')")
    db.execute("UPDATE stock SET status = 'b'")
    row = {"id": 1, "status": "b", "amount": 5, "note": "n"}
    before = {**row, "status": "a"}
    assert subscribers(db)[1::2] == [
        ("asks", ALL, row, before), ("event", ["new.id", "old.status"], {"id": 1}, {"status": "a"}),
        ("none", [], {}, {}), ("whole", ALL, row, before), ("wrong", ALL, row, before),
    ]
    db.execute("SELECT automate.alter_rule('event', actions => %s)", [note(".event.payload.new.note")])
    db.execute("SELECT automate.drop_rule('whole')")
    assert noted(db) == [["changed", "insert"], ["changed", "update"], [1, "a"], [1, None], [1], [1], [None], [None]]


@pytest.mark.parametrize("settings", ["", "SET datestyle = 'German, DMY'; SET timezone = 'Asia/Kathmandu'; SET bytea_output = 'escape'"])
def test_events_hold_the_jsonb_that_postgresql_makes_of_their_text(db: Database, settings: str) -> None:
    columns = ", ".join(f'"c {number}" {kind}' for number, kind in enumerate(VALUES))
    db.execute(f"CREATE TABLE wide (id bigint PRIMARY KEY, {columns}, gone int, \"quo\"\"ted\" int GENERATED ALWAYS AS (7) STORED)")
    db.execute("ALTER TABLE wide DROP COLUMN gone")
    db.execute("SELECT automate.create_trigger('t', 'data', on_table => 'wide', operations => '{insert,update,delete}')")
    session = db.connect()
    session.execute(f"{settings}; SET automate.session_vars = 'application_name'" if settings else "SET application_name = 'x\"y'")
    for number in range(max(map(len, VALUES.values()))):
        row = ", ".join(literal(kind, values[number % len(values)]) for kind, values in VALUES.items())
        session.execute(f"INSERT INTO wide VALUES ({10 ** (3 * number)}, {row})")
    session.execute("INSERT INTO wide (id) VALUES (0), (-9223372036854775808), (9223372036854775807), (-10000)")
    session.execute("UPDATE wide SET \"c 1\" = 7, \"c 8\" = 'z'")
    wanted = session.execute("SELECT to_jsonb(w) FROM wide AS w ORDER BY id").fetchall()
    got = "SELECT payload -> 'new' FROM automate.event WHERE payload ->> 'op' = 'update' ORDER BY payload #> '{key,id}'"
    assert session.execute(got).fetchall() == wanted
    session.execute("DELETE FROM wide")
    # Byte for byte what its own parser makes of the text.
    count = db.rows("SELECT count(*), count(*) FILTER (WHERE record_image_eq(ROW(payload), ROW(payload::text::jsonb))) FROM automate.event")
    assert count == [(3 * len(wanted), 3 * len(wanted))]


def test_the_queue_may_be_changed_while_a_session_writes_to_it(stock: Database) -> None:
    """What a session knows of our tables is found out anew when they change."""
    db = stock
    rule(db, "r", '[{"emit": "e"}]')
    db.execute("SELECT automate.create_trigger('t', 'data', on_table => 'stock', operations => '{insert}')")
    other = db.connect()
    other.execute("INSERT INTO stock VALUES (1)")
    db.execute("CREATE INDEX by_source ON automate.job (source) WHERE source LIKE 'rule:%'")
    db.execute("CREATE INDEX by_trigger ON automate.event (trigger_id)")
    other.execute("INSERT INTO stock VALUES (2)")
    db.execute("REINDEX TABLE automate.job")
    other.execute("INSERT INTO stock SELECT i FROM generate_series(3, 300) AS i")
    db.execute("SET enable_seqscan = off")
    assert db.one("SELECT count(*) FROM automate.job WHERE source LIKE 'rule:%%' AND source = 'rule:r'") == 300
    assert db.one("SELECT count(*) FROM automate.event AS e JOIN automate.trigger AS t ON t.id = e.trigger_id") == 300
    db.execute("DROP INDEX automate.by_source, automate.by_trigger")
    other.execute("INSERT INTO stock VALUES (0)")
    assert db.one("SELECT count(*) FROM automate.job") == 301


def test_our_tables_can_go_in_the_transaction_that_wrote_to_them(stock: Database) -> None:
    db = stock
    rule(db, "r", '[{"emit": "e"}]')
    with db.admin.transaction():
        db.execute("INSERT INTO stock VALUES (1)")
        db.execute("DROP EXTENSION pg_automate CASCADE")
        db.execute("INSERT INTO stock VALUES (2)")
        db.execute("CREATE EXTENSION pg_automate")
        rule(db, "r", '[{"emit": "e"}]')
        db.execute("INSERT INTO stock VALUES (3)")
        assert db.one("SELECT count(*) FROM automate.job") == 1
