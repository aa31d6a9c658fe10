"""Looking into rules: what they would match, why a row matches or not, and how they stand to each other."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from support.database import Database
from support.paths import ROOT
from test_readme import statements

EMIT = '[{"emit": "e"}]'


@pytest.fixture
def orders(db: Database) -> Iterator[Database]:
    db.execute("CREATE TABLE orders (id int PRIMARY KEY, status text, amount numeric, doc jsonb)")
    yield db


def fill(db: Database, count: int = 3000) -> None:
    """Random rows, each column but the key sometimes NULL."""
    draw = random.Random(7)
    with db.admin.cursor().copy("COPY orders (id, status, amount) FROM STDIN") as copy:
        for number in range(count):
            status = draw.choice([None, "new", "paid", "sent", "it's"])
            amount = None if draw.random() < 0.2 else draw.randint(-100, 1000)
            copy.write_row((number, status, amount))


def rule(db: Database, name: str, condition: str | None = None, **more: Any) -> None:
    more = {"on_table": "orders", "condition": condition, **more}
    actions = more.pop("actions", EMIT)
    names = ", ".join(f"{key} => %s" for key in more)
    db.execute(f"SELECT automate.create_rule(%s, %s, {names})", [name, actions, *more.values()])


def backtest(db: Database, *args: Any) -> tuple[Any, ...]:
    holes = ", ".join(["%s"] * len(args))
    (row,) = db.rows(f"SELECT scanned, matched, sample, actions FROM automate.backtest_rule({holes})", list(args))
    return row


def check_refusal(error: psycopg.Error, state: str, *texts: str) -> None:
    """A refusal has its SQLSTATE, facts and a way out; the texts are somewhere in it."""
    diag = error.diag
    message, detail, hint = diag.message_primary or "", diag.message_detail or "", diag.message_hint or ""
    assert error.sqlstate == state, error
    assert message and not message.endswith(".")
    assert detail.endswith((".", "?")) and detail not in message and message not in detail
    assert hint.endswith((".", "?"))
    for text in texts:
        assert text in f"{message}\n{detail}\n{hint}"


# -- backtest_rule -------------------------------------------------------------------------------


@pytest.mark.parametrize(("condition", "plain"), [
    ("new.status = 'paid' AND new.amount > 500", "status = 'paid' AND amount > 500"),
    ("amount > 500 OR status IS NULL -- a comment", "amount > 500 OR status IS NULL"),
    ("NOT (status = 'paid')", "NOT (status = 'paid')"),
    ("old.status IS DISTINCT FROM new.status", "status IS NOT NULL"),
    ("old IS NULL AND mod(new.amount, 2) = 0", "mod(amount, 2) = 0"),
    ("status IN ('new', 'it''s') AND coalesce(amount, 0) BETWEEN 0 AND 10",
     "status IN ('new', 'it''s') AND coalesce(amount, 0) BETWEEN 0 AND 10"),
    ("old.amount > 1", "false"),
    ("old <> new AND NOT old.* = new.*", "true"),
    ("row_to_json(old)::text <> row_to_json(new)::text AND new.status = 'new'", "status = 'new'"),
    (None, "true"),
])
def test_backtest_counts_what_plain_sql_counts(orders: Database, condition: str | None, plain: str) -> None:
    db = orders
    fill(db)
    rule(db, "r", condition)
    matched = db.one(f"SELECT count(*) FROM orders WHERE {plain}")
    scanned, found, sample, actions = backtest(db, "r")
    assert (scanned, found) == (3000, matched)
    assert len(sample) == min(10, matched)
    ids = [row["id"] for row in sample]
    assert db.one(f"SELECT count(*) FROM orders WHERE id = ANY (%s) AND ({plain})", [ids]) == len(ids)
    assert actions == ([{"emit": "e", "payload": {}}] if matched else None)
    where, most = "new.amount < 600 AND status <> 'sent'", "amount < 600 AND status <> 'sent'"
    narrowed = db.one(f"SELECT count(*) FROM orders WHERE ({most}) AND ({plain})")
    assert backtest(db, "r", where, 0)[:2] == (db.one(f"SELECT count(*) FROM orders WHERE {most}"), narrowed)


def test_backtest_of_jsonlogic(orders: Database) -> None:
    fill(orders)
    logic = {"and": [{"in": [{"var": "status"}, ["paid", "sent"]]}, {">=": [{"var": "amount"}, 300]}]}
    rule(orders, "logic", conditions=json.dumps(logic))
    want = orders.one("SELECT count(*) FROM orders WHERE status IN ('paid', 'sent') AND amount >= 300")
    assert backtest(orders, "logic")[1] == want > 0


def test_backtest_shows_rows_and_actions(orders: Database) -> None:
    db = orders
    db.execute("""INSERT INTO orders VALUES (1, 'paid', 12345678901234567890.5, '{"a": [1]}'), (2, NULL, 1, NULL)""")
    actions = json.dumps([
        {"sql": "INSERT INTO nowhere VALUES ($1, $2)", "params": ["${ .new.id }", "${ .event.table }"]},
        {"notify": "t", "recipients": ["${ .new.status }"], "data": {"by": "${ .rule }"}},
        {"emit": "x", "payload": {"old": "${ .old }", "op": "${ .event.op }"}},
        {"emit": "y", "payload": "${ .new.id | error }"},
    ])
    db.execute("CREATE TABLE nowhere (a int, b text)")
    db.execute("SELECT automate.create_template('t', 's', 'b')")
    rule(db, "shown", "new.status = 'paid'", actions=actions)
    scanned, matched, sample, done = backtest(db, "shown")
    assert (scanned, matched, len(sample)) == (2, 1, 1)
    assert {**sample[0], "amount": None} == {"id": 1, "status": "paid", "amount": None, "doc": {"a": [1]}}
    assert db.one("SELECT sample -> 0 ->> 'amount' FROM automate.backtest_rule('shown')") == "12345678901234567890.5"
    assert done[:3] == [
        {"sql": "INSERT INTO nowhere VALUES ($1, $2)", "params": [1, "orders"]},
        {"notify": "t", "recipients": ["paid"], "data": {"by": "shown"}},
        {"emit": "x", "payload": {"old": None, "op": "insert"}},
    ]
    assert list(done[3]) == ["error"]
    assert db.one("SELECT count(*) FROM nowhere") == 0
    assert db.one("SELECT count(*) FROM automate.job") == 0
    assert backtest(db, "shown", None, 0) == (2, 1, [], None)


def test_backtest_of_a_rule_on_delete(orders: Database) -> None:
    fill(orders, 100)
    rule(orders, "gone", "amount > 5", operations=["delete"], actions='[{"emit": "e", "payload": {"id": "${ .old.id }"}}]')
    want = orders.one("SELECT count(*) FROM orders WHERE amount > 5")
    scanned, matched, sample, actions = backtest(orders, "gone", "old.amount IS NOT NULL", 1)
    assert (scanned, matched) == (orders.one("SELECT count(amount) FROM orders"), want)
    assert actions == [{"emit": "e", "payload": {"id": sample[0]["id"]}}]


def test_backtest_sees_what_the_trigger_sees(orders: Database) -> None:
    """A partitioned table with its partitions, a table without those that inherit from it."""
    db = orders
    db.execute("CREATE TABLE part (id int, amount int) PARTITION BY RANGE (id)")
    db.execute("CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (100)")
    db.execute("CREATE TABLE heir () INHERITS (orders)")
    rule(db, "part", "new.amount > 5 AND old.id IS NULL", on_table="part")
    rule(db, "single")
    db.execute("INSERT INTO part VALUES (1, 9), (2, 1)")
    db.execute("INSERT INTO heir (id) VALUES (1)")
    assert backtest(db, "part")[:2] == (2, 1)
    assert backtest(db, "single")[:2] == (0, 0)


def test_backtest_of_columns_that_have_no_null(orders: Database) -> None:
    db = orders
    db.execute("CREATE DOMAIN must AS int NOT NULL; CREATE TABLE strict (id must, n int)")
    db.execute("INSERT INTO strict VALUES (1, 1), (2, NULL)")
    rule(db, "strict", "old.id IS DISTINCT FROM new.id AND n = 1", on_table="strict")
    assert backtest(db, "strict")[:2] == (2, 1)


def test_backtest_reads_what_where_sql_lets_pass_only(orders: Database) -> None:
    db = orders
    db.execute("INSERT INTO orders SELECT n, 'a', n FROM generate_series(0, 50) AS n")
    rule(db, "div", "100 / new.amount > 5")
    with pytest.raises(psycopg.Error) as refused:
        backtest(db, "div")
    check_refusal(refused.value, "22012", "div", "where_sql")
    assert backtest(db, "div", "new.amount <> 0")[:2] == (50, 19)


def test_backtest_is_the_owners(orders: Database, role: Callable[..., str]) -> None:
    """Conditions and where_sql see the owner as current_user and its search_path; others see nothing."""
    db = orders
    fill(db, 20)
    owner, other, group = role("owner"), role("other"), role("boss")
    db.execute(f"GRANT SELECT, TRIGGER ON orders TO {owner}; GRANT {owner} TO {group}")
    session, boss = db.connect(owner), db.connect(group)
    session.execute("""CREATE FUNCTION who() RETURNS text STABLE LANGUAGE plpgsql AS
                       $$ BEGIN RETURN current_user; END $$""")
    session.execute("SELECT automate.create_rule('mine', %s, on_table => 'orders', condition => %s)",
                    [EMIT, f"who() = '{owner}' AND lower('A') = 'a'"])
    boss.execute("CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'x' $$")
    boss.execute("SET search_path = public, pg_catalog")
    row = boss.execute(f"SELECT matched FROM automate.backtest_rule('mine', $$ who() = '{owner}' $$)").fetchone()
    assert row == (20,)
    assert boss.execute("SELECT current_user::text").fetchone() == (group,)
    # Even a superuser's where_sql has the owner's rights and no more.
    assert db.one("SELECT matched FROM automate.backtest_rule('mine', 'who() = session_user')") == 0
    with pytest.raises(psycopg.Error) as refused:
        db.connect(other).execute("SELECT automate.backtest_rule('mine')")
    check_refusal(refused.value, "42704", "mine")
    db.execute(f"REVOKE SELECT ON orders FROM {owner}; GRANT SELECT (id, status) ON orders TO {owner}")
    with pytest.raises(psycopg.Error) as refused:
        session.execute("SELECT automate.backtest_rule('mine', 'new.amount > 1')")
    check_refusal(refused.value, "42501", "SELECT", "GRANT")


def test_backtest_writes_nothing(orders: Database) -> None:
    db = orders
    fill(db, 5)
    db.execute("CREATE TABLE traces (n int)")
    db.execute("""CREATE FUNCTION sly() RETURNS boolean STABLE LANGUAGE plpgsql AS
                  $$ BEGIN PERFORM wrong(); RETURN true; END $$""")
    db.execute("CREATE FUNCTION wrong() RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO traces VALUES (1); END $$")
    rule(db, "any")
    with pytest.raises(psycopg.Error) as refused:
        backtest(db, "any", "sly()")
    check_refusal(refused.value, "25006", "read-only")
    db.execute("INSERT INTO traces VALUES (2)")  # the transaction and the session may still write
    assert db.one("SELECT count(*) FROM traces") == 1


def test_backtest_can_be_stopped(orders: Database) -> None:
    db = orders
    fill(db, 100)
    db.execute("""CREATE FUNCTION slow(int) RETURNS boolean STABLE LANGUAGE plpgsql AS
                  $$ BEGIN PERFORM pg_sleep(1); RETURN true; END $$""")
    rule(db, "slow", "slow(new.id)")
    session = db.connect()
    session.execute("SET statement_timeout = '300ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.execute("SELECT automate.backtest_rule('slow')")
    assert session.execute("SELECT current_setting('statement_timeout')").fetchone() == ("300ms",)


@pytest.mark.parametrize(("state", "args", "texts"), [
    ("42704", ("bgi",), ["Did you mean \"big\"?"]),
    ("0A000", ("heard",), ["order.paid"]),
    ("22023", ("big", None, -1), ["sample"]),
    ("22023", ("big", None, 1001), ["1000"]),
    ("22004", (None,), ["name"]),
    ("42703", ("big", "new.statsu = 'x'"), ["where_sql", "status", "At character 1 "]),
    ("42601", ("big", "true) OR (true"), ["where_sql", "At character 5 "]),
    ("42601", ("big", "true FROM pg_class"), ["where_sql", "one expression"]),
    ("42601", ("big", "true; DELETE FROM orders"), ["where_sql", "At character 5 "]),
    ("42804", ("big", "new.amount"), ["where_sql", "true or false"]),
    ("0A000", ("big", "id IN (SELECT 1)"), ["where_sql"]),
    ("42P17", ("big", "random() > 0.5"), ["where_sql", "STABLE"]),
    ("42P01", ("big", "old.id = 1"), ["where_sql", "no old row"]),
    ("42703", ("stale",), ["condition"]),
])
def test_backtest_refuses(orders: Database, state: str, args: tuple[Any, ...], texts: list[str]) -> None:
    db = orders
    rule(db, "big", "new.amount > 500", operations=["insert"])
    db.execute("ALTER TABLE orders ADD COLUMN note text")
    rule(db, "stale", "new.note = 'x'")
    db.execute("ALTER TABLE orders DROP COLUMN note")
    db.execute("SELECT automate.create_rule('heard', %s, on_event => 'order.paid')", [EMIT])
    with pytest.raises(psycopg.Error) as refused:
        backtest(db, *args)
    check_refusal(refused.value, state, *texts)


def test_a_large_sample_is_refused(orders: Database) -> None:
    orders.execute("INSERT INTO orders SELECT n, repeat('x', 300000) FROM generate_series(1, 10) AS n")
    rule(orders, "any")
    with pytest.raises(psycopg.Error) as refused:
        backtest(orders, "any")
    check_refusal(refused.value, "54000", "sample", "automate.max_payload_bytes")
    assert backtest(orders, "any", None, 1)[:2] == (10, 10)


# -- explain_rule --------------------------------------------------------------------------------


def explain(db: Database, name: str, new: Any = None, old: Any = None) -> list[tuple[Any, ...]]:
    given = [None if row is None else json.dumps(row) for row in (new, old)]
    return db.rows("SELECT depth, expression, value, operands, decided FROM automate.explain_rule(%s, %s, %s)",
                   [name, *given])


def test_explain_shows_the_tree(orders: Database) -> None:
    rule(orders, "r", "status = 'paid' AND (new.amount > 500 OR NOT old.amount < 10) AND doc IS NULL")
    rows = explain(orders, "r", {"status": "paid", "amount": 500}, {"amount": 7})
    assert rows == [
        (0, rows[0][1], "false", None, True),
        (1, "  new.status = 'paid'::text", "true", {"new.status": "paid"}, False),
        (1, "  (new.amount > (500)::numeric) OR (NOT (old.amount < (10)::numeric))", "false", None, True),
        (2, "    new.amount > (500)::numeric", "false", {"new.amount": 500}, True),
        (2, "    NOT (old.amount < (10)::numeric)", "false", None, True),
        (3, "      old.amount < (10)::numeric", "true", {"old.amount": 7}, True),
        (1, "  new.doc IS NULL", "true", {"new.doc": None}, False),
    ]
    assert rows[0][1] == ("(new.status = 'paid'::text) AND ((new.amount > (500)::numeric) OR "
                          "(NOT (old.amount < (10)::numeric))) AND (new.doc IS NULL)")
    # One true part of an OR decides it; all parts of a true AND do.
    rows = explain(orders, "r", {"status": "paid", "amount": 501}, {"amount": 11})
    assert [(r[2], r[4]) for r in rows] == [("true", True), ("true", True), ("true", True), ("true", True),
                                            ("true", False), ("false", False), ("true", True)]
    # The first false part of an AND decides it.
    rows = explain(orders, "r", {"status": "new", "amount": 1, "doc": {}}, {"amount": 1})
    assert [(r[2], r[4]) for r in rows][:3] == [("false", True), ("false", True), ("false", False)]
    assert [r[4] for r in rows[3:]] == [False] * 4


def test_explain_of_null(orders: Database) -> None:
    rule(orders, "r", "amount > 1 AND status = 'a' OR doc IS NOT NULL")
    rows = explain(orders, "r", {"status": "a"})
    assert [(r[2], r[4]) for r in rows] == [
        ("null", True), ("null", True), ("null", True), ("true", False), ("false", False)]
    assert rows[2][3] == {"new.amount": None}
    assert explain(orders, "r", {"status": "b"})[0][2] == "false"


def test_explain_of_errors(orders: Database) -> None:
    rule(orders, "div", "100 / new.amount > 5 AND status = 'a'")
    rows = explain(orders, "div", {"amount": 0, "status": "b"})
    assert [(r[2], r[4]) for r in rows] == [
        ("22012: division by zero", True), ("22012: division by zero", True), ("false", False)]
    assert rows[1][3] == {"new.amount": 0}
    rule(orders, "guarded", "status = 'a' AND 100 / new.amount > 5")
    rows = explain(orders, "guarded", {"amount": 0, "status": "b"})
    assert [(r[2], r[4]) for r in rows] == [("false", True), ("false", True), ("22012: division by zero", False)]
    rows = explain(orders, "guarded", {"amount": 8, "status": "a"})
    assert rows[2][3] == {"(100)::numeric / new.amount": 12.5, "new.amount": 8}


def test_explain_of_jsonlogic_and_functions(orders: Database) -> None:
    db = orders
    logic = {"or": [{"in": [{"var": "status"}, ["a", "b"]]}, {"!": {">": [{"var": "amount"}, 5]}}]}
    rule(db, "logic", conditions=json.dumps(logic))
    rows = explain(db, "logic", {"status": "c", "amount": 9})
    assert rows[0][2] == "false" and rows[0][4] and len(rows) > 2
    assert rows[1][3] == {"new.status": "c"} and rows[1][4]
    rule(db, "deep", "new.doc #>> '{a,b}' LIKE 'x%%' AND coalesce(amount, 0) = 0 AND status IN ('a', 'b')")
    rows = explain(db, "deep", {"doc": {"a": {"b": "xyz"}}, "status": "b"})
    assert [r[2] for r in rows] == ["true"] * 4
    assert rows[1][3] == {"new.doc #>> '{a,b}'::text[]": "xyz", "new.doc": {"a": {"b": "xyz"}}}
    assert rows[2][3] == {"COALESCE(new.amount, (0)::numeric)": 0, "new.amount": None}
    assert rows[3][3] == {"new.status": "b"}
    long = explain(db, "deep", {"doc": {"a": {"b": "x" * 5000}}})[1][3]["new.doc"]
    assert long.startswith('{"a": {"b": "xx') and len(long) == 1003
    rule(db, "always")
    assert explain(db, "always", {}) == [(0, "true", "true", None, True)]


def test_explain_keeps_digits_and_odd_columns(orders: Database) -> None:
    db = orders
    db.execute("""CREATE TABLE odd (gone int, "New" text, "a b" varchar(5), n numeric, t timestamptz)""")
    db.execute("ALTER TABLE odd DROP COLUMN gone")
    rule(db, "odd", """"New" = 'x' AND new."a b" = 'y' AND n = 12345678901234567890.5 AND t < now() AND new IS NOT NULL""",
         on_table="odd")
    new = '{"New": "x", "a b": "y", "n": 12345678901234567890.5, "t": "2020-01-01T00:00:00Z"}'
    rows = db.rows("SELECT expression, value, operands::text, operands FROM automate.explain_rule('odd', %s)", [new])
    assert [r[1] for r in rows] == ["true"] * 6
    assert '{"new.n": 12345678901234567890.5}' == rows[3][2]
    assert list(rows[1][3]) == ['new."New"'] and list(rows[2][3]) == ['new."a b"']
    assert set(rows[4][3]) == {"new.t", "now()"}


def test_explain_says_what_the_trigger_does(orders: Database) -> None:
    """The value of the whole is true for exactly the rows that the rule matches."""
    db = orders
    db.execute("CREATE TABLE noted (id int)")
    rule(db, "r", "(status = 'paid' OR amount > 900) AND NOT (amount BETWEEN 100 AND 200 AND status IS NOT NULL)",
         actions='[{"sql": "INSERT INTO noted VALUES ($1)", "params": ["${ .new.id }"]}]', operations=["insert"])
    fill(db, 200)
    said = db.rows("""SELECT o.id FROM orders AS o, automate.explain_rule('r', to_jsonb(o)) AS e
                      WHERE e.depth = 0 AND e.value = 'true' ORDER BY 1""")
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job)")
    assert said == db.rows("SELECT id FROM noted ORDER BY 1") and len(said) > 10
    assert backtest(db, "r")[1] == len(said)


def test_explain_is_the_owners(orders: Database, role: Callable[..., str]) -> None:
    db = orders
    owner, other = role("owner"), role("other")
    db.execute(f"GRANT SELECT, TRIGGER ON orders TO {owner}")
    session = db.connect(owner)
    session.execute("SELECT automate.create_rule('mine', %s, on_table => 'orders', condition => %s)",
                    [EMIT, f"current_user = '{owner}' AND new.id = 1"])
    assert [r[2] for r in explain(db, "mine", {"id": 1})] == ["true"] * 3
    assert db.one("SELECT current_user::text") == "postgres"
    with pytest.raises(psycopg.Error) as refused:
        db.connect(other).execute("""SELECT automate.explain_rule('mine', '{"id": 1}')""")
    check_refusal(refused.value, "42704", "mine")
    db.execute(f"REVOKE SELECT ON orders FROM {owner}")
    with pytest.raises(psycopg.Error) as refused:
        session.execute("""SELECT automate.explain_rule('mine', '{"id": 1}')""")
    check_refusal(refused.value, "42501", "SELECT")


@pytest.mark.parametrize(("state", "args", "texts"), [
    ("42704", ("bgi", {"id": 1}), ["Did you mean \"big\"?"]),
    ("0A000", ("heard", {"id": 1}), ["order.paid"]),
    ("22004", (None, {"id": 1}), ["name"]),
    ("22023", ("big",), ["Neither"]),
    ("22023", ("big", [1]), ["new", "object"]),
    ("42703", ("big", {"statsu": "x"}), ["new", "Did you mean \"status\"?"]),
    ("22023", ("big", {"id": 1}, {"id": 1}), ["old", "insert"]),
    ("22023", ("gone", {"id": 1}), ["new", "delete"]),
    ("22P02", ("big", {"amount": "much"}), ["new", "much"]),
])
def test_explain_refuses(orders: Database, state: str, args: tuple[Any, ...], texts: list[str]) -> None:
    db = orders
    rule(db, "big", "new.amount > 500", operations=["insert"])
    rule(db, "gone", "old.amount > 500", operations=["delete"])
    db.execute("SELECT automate.create_rule('heard', %s, on_event => 'order.paid')", [EMIT])
    with pytest.raises(psycopg.Error) as refused:
        explain(db, *args)
    check_refusal(refused.value, state, *texts)


# -- rule_conflicts ------------------------------------------------------------------------------


def conflicts(db: Database, table: str = "orders") -> list[tuple[Any, ...]]:
    return db.rows("SELECT rule, other, relation FROM automate.rule_conflicts(%s::regclass) ORDER BY 1, 2", [table])


@pytest.mark.parametrize(("a", "b", "want"), [
    ("new.amount > 500 AND status = 'paid'", "new.amount > 100", ("a", "b", "shadowed")),
    ("new.amount > 100", "new.amount > 500 AND status = 'paid'", ("b", "a", "shadowed")),
    ("new.amount > 100", "new.amount < 50", ("a", "b", "exclusive")),
    ("status = 'a'", "new.status = 'b'", ("a", "b", "exclusive")),
    ("status = 'b'", "status IN ('a', 'b', 'c')", ("a", "b", "shadowed")),
    ("status IN ('a', 'b')", "status IN ('c', 'd')", ("a", "b", "exclusive")),
    ("status = 'a' OR status = 'b'", "status IN ('b', 'a')", ("a", "b", "equivalent")),
    ("amount > 5 AND status = 'a'", "status = 'a' AND 5 < new.amount", ("a", "b", "equivalent")),
    ("amount IS NULL", "amount > 5", ("a", "b", "exclusive")),
    ("amount > 5", "amount IS NOT NULL", ("a", "b", "shadowed")),
    ("amount > 5", None, ("a", "b", "shadowed")),
    (None, None, ("a", "b", "equivalent")),
    (None, "true", ("a", "b", "equivalent")),
    ("old.status = 'a'", "new.status = 'b'", ("a", "b", "may overlap")),
    ("status LIKE 'a%%'", "status LIKE 'b%%'", ("a", "b", "may overlap")),
    ("amount > 100", "status = 'paid'", ("a", "b", "may overlap")),
    ("100 / amount > 5", "100 / amount > 5 AND status = 'a'", ("b", "a", "shadowed")),
])
def test_conflicts_of_two(orders: Database, a: str | None, b: str | None, want: tuple[str, ...]) -> None:
    rule(orders, "a", a)
    rule(orders, "b", b)
    assert conflicts(orders) == [want]


def test_proofs_hold_on_random_rows(orders: Database) -> None:
    """What is proved of conditions is true of every row."""
    db, draw = orders, random.Random(11)
    fill(db, 500)
    simple = ["amount > {n}", "amount < {n}", "amount = {n}", "amount BETWEEN {n} AND {n} + 200", "status = 'new'",
              "status IN ('new', 'paid')", "status IS NULL", "amount IS NOT NULL", "status <> 'sent'"]

    def condition(depth: int) -> str:
        if depth == 0:
            return draw.choice(simple).replace("{n}", str(draw.randint(-1, 9) * 100))
        return draw.choice(["({} AND {})", "({} OR {})", "NOT {}"]).format(condition(depth - 1), condition(depth - 1))

    texts = {f"r{n}": condition(n % 3) for n in range(60)}
    for name, text in texts.items():
        rule(db, name, text)
    found, kinds = conflicts(db), set()
    assert len(found) == 60 * 59 / 2
    for name, other, relation in found:
        kinds.add(relation)
        broken = {"exclusive": "{a} AND {b}", "shadowed": "{a} AND ({b}) IS NOT TRUE",
                  "equivalent": "(({a}) IS TRUE) <> (({b}) IS TRUE)", "may overlap": "false"}[relation]
        broken = broken.format(a=f"({texts[name]})", b=f"({texts[other]})")
        assert db.one(f"SELECT count(*) FROM orders WHERE {broken}") == 0, (relation, texts[name], texts[other])
    assert kinds >= {"exclusive", "shadowed", "may overlap"}


def test_conflicts_look_at_operations_priority_and_status(orders: Database) -> None:
    db = orders
    rule(db, "in", "amount > 5", operations=["insert"])
    rule(db, "out", "amount > 5", operations=["delete"])
    assert conflicts(db) == []
    # The wider rule matches updates, too.
    rule(db, "both", "amount > 5", operations=["insert", "update"])
    assert conflicts(db) == [("in", "both", "shadowed")]
    rule(db, "narrow", "amount > 7", operations=["update", "insert"], priority=50)
    assert conflicts(db) == [("in", "both", "shadowed"), ("narrow", "both", "shadowed")]
    note = db.one("SELECT note FROM automate.rule_conflicts('orders') WHERE rule = 'narrow'")
    assert note == 'whenever "narrow" matches, "both" matches, too'
    db.execute("SELECT automate.drop_rule('narrow')")
    rule(db, "narrow", "amount > 7", operations=["update", "insert"])
    note = db.one("SELECT note FROM automate.rule_conflicts('orders') WHERE relation = 'may overlap'")
    assert note == 'on insert: whenever "narrow" matches, "in" matches, too; both have priority 100'
    db.execute("SELECT automate.disable_rule('both')")
    db.execute("SELECT automate.disable_rule('narrow')")
    assert conflicts(db) == []
    # Bare names are old's for a rule on delete, new's for the others.
    rule(db, "late", "old.amount < 3", operations=["update", "delete"])
    assert conflicts(db) == [("late", "out", "exclusive")]


def test_conflicts_look_at_columns_and_times(orders: Database) -> None:
    """A rule that looks at less is shadowed by one that looks at more, and not the other way round."""
    db = orders
    rule(db, "any", "amount > 5")
    rule(db, "some", "amount > 5", columns=["status", "amount"])
    rule(db, "one", "amount > 5", columns=["status"])
    rule(db, "insert", "amount > 5", operations=["insert"])
    assert conflicts(db) == [("insert", "any", "shadowed"), ("insert", "one", "shadowed"), ("insert", "some", "shadowed"),
                             ("one", "any", "shadowed"), ("one", "some", "shadowed"), ("some", "any", "shadowed")]
    for name in ("some", "one", "insert"):
        db.execute("SELECT automate.drop_rule(%s)", [name])
    rule(db, "early", "amount > 5", valid_until="2030-01-01")
    rule(db, "late", "amount > 5", valid_from="2030-01-01")
    rule(db, "now", "amount > 5", valid_from="2020-01-01", valid_until="infinity")
    found = {(rule, other): relation for rule, other, relation in conflicts(db)}
    assert found == {("early", "any"): "shadowed", ("late", "any"): "shadowed", ("now", "any"): "shadowed",
                     ("early", "late"): "exclusive", ("early", "now"): "may overlap", ("late", "now"): "shadowed"}


def test_conflicts_leave_broken_rules_out(orders: Database) -> None:
    db = orders
    db.execute("ALTER TABLE orders ADD COLUMN note text")
    for name in ("a", "b"):
        rule(db, name, "amount > 5")
    rule(db, "note", "note = 'x'")
    assert len(conflicts(db)) == 3
    db.execute("ALTER TABLE orders DROP COLUMN note")
    assert conflicts(db) == [("a", "b", "equivalent")]


def test_conflicts_show_what_the_caller_may_see(orders: Database, role: Callable[..., str]) -> None:
    db = orders
    ann, bob, watcher = role("ann"), role("bob"), role("watcher", level="monitor")
    for name in (ann, bob):
        db.execute(f"GRANT SELECT, TRIGGER ON orders TO {name}")
        db.connect(name).execute(
            "SELECT automate.create_rule('same', %s, on_table => 'orders', condition => 'amount > 5')", [EMIT])
    query = "SELECT rule, other, relation, note FROM automate.rule_conflicts('orders')"
    assert db.connect(ann).execute(query).fetchall() == []
    for session in (db.admin, db.connect(watcher)):
        (row,) = session.execute(query).fetchall()
        assert row[:3] == ("same", "same", "equivalent")
        assert f'"{ann}"' in row[3] and f'"{bob}"' in row[3]
    db.execute(f"REVOKE SELECT ON orders FROM {bob}")  # the rule cannot work now
    assert db.rows(query) == []


@pytest.mark.parametrize(("state", "call", "text"), [
    ("22004", "SELECT automate.rule_conflicts(NULL)", "on_table"),
    ("42P01", "SELECT automate.rule_conflicts(99999999)", "99999999"),
])
def test_conflicts_refuse(orders: Database, state: str, call: str, text: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        orders.execute(call)
    check_refusal(refused.value, state, text)


# -- docs/rules.md -------------------------------------------------------------------------------


def test_the_examples_of_the_document_run(db: Database, role: Callable[..., str]) -> None:
    text = (ROOT / "docs" / "rules.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 8
    session = db.connect(role("reader"))
    answers = []
    for example in examples:
        for statement in statements(example):
            cursor = session.execute(statement)  # type: ignore[arg-type]
            answers.append(cursor.fetchall() if cursor.description else None)
    assert answers[4][0][:2] == (4, 1) and answers[4][0][3][0]["params"] == [1, "big"]
    # What the document shows of the answers is what they are.
    assert [row[1] for row in answers[7]] == [True, True]
    for row in answers[7] + answers[8]:
        assert f"--  {row[0]}" in text
    assert [(row[1], row[3]) for row in answers[8]] == [("false", True), ("true", False), ("false", True)]
    assert answers[10] == [("big_order", "paid", "shadowed", 'whenever "big_order" matches, "paid" matches, too')]
    # Before the write, and with it.
    assert session.execute("SELECT status, amount FROM orders WHERE id = 5").fetchall() == [("sent", 0)]
    with pytest.raises(psycopg.errors.CheckViolation, match="order 7 is too big"):
        session.execute("INSERT INTO orders VALUES (7, 'Paid', 20000)")
    assert answers[-1] == [("at once",)]


def test_a_backtest_shows_how_far_it_is(orders: Database) -> None:
    db = orders
    # A row a page, so that few rows make a large table.
    db.execute("CREATE TABLE large (id int, filler char(5000)) WITH (fillfactor = 50)")
    db.execute("ALTER TABLE large ALTER filler SET STORAGE PLAIN")
    db.execute("INSERT INTO large SELECT n, 'x' FROM generate_series(1, 5000) AS n")
    db.execute("""CREATE FUNCTION held(id int) RETURNS boolean STABLE LANGUAGE plpgsql AS $$
        BEGIN IF id = 3000 THEN PERFORM pg_advisory_lock_shared(7); END IF; RETURN id % 2 = 0; END $$""")
    rule(db, 'hal"f', "held(new.id)", on_table="large")
    db.execute("SELECT pg_advisory_lock(7)")
    session, found = db.connect(), []
    call = "SELECT scanned, matched FROM automate.backtest_rule('hal\"f')"
    thread = threading.Thread(target=lambda: found.extend(session.execute(call).fetchall()))
    thread.start()
    db.wait_until("SELECT fraction BETWEEN 0.5 AND 0.65 FROM automate.backtest_progress WHERE rule = 'hal\"f'")
    assert db.one("SELECT pid FROM automate.backtest_progress") == session.info.backend_pid
    db.execute("SELECT pg_advisory_unlock(7)")
    thread.join(30)
    assert found == [(5000, 2500)]
    assert db.rows("SELECT * FROM automate.backtest_progress") == []
