"""Rules asked about a JSON context: which match, and what they do."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from support.database import Database
from test_events import done

NOTE = json.dumps([{"sql": "INSERT INTO noted VALUES ($1, $2)", "params": ["${ .rule }", "${ .event }"]}])
EMIT = '[{"emit": "seen", "payload": {"n": "${ .event.n }"}}]'


def rule(db: Any, name: str, actions: str = EMIT, **more: Any) -> None:
    more = {key: json.dumps(value) if key == "conditions" else value for key, value in more.items()}
    names = "".join(f", {key} => %s" for key in more)
    db.execute(f"SELECT automate.create_rule(%s, %s{names})", [name, actions, *more.values()])


def asked(db: Any, context: Any, ruleset: str | None = None, what: str = "rule") -> list[Any]:
    rows = db.execute(f"SELECT {what} FROM automate.evaluate_rules(%s, %s)", [json.dumps(context), ruleset]).fetchall()
    return [row[0] if len(row) == 1 else row for row in rows]


@pytest.fixture
def sets(db: Database) -> Database:
    db.execute("CREATE TABLE noted (rule text, event jsonb)")
    db.execute("SELECT automate.create_ruleset('s', 'all')")
    return db


def test_who_matches_and_what_it_would_do(sets: Database) -> None:
    db = sets
    rule(db, "logic", ruleset="s", conditions={"some": [{"var": "items"}, {">": [{"var": "price"}, 10]}]})
    rule(db, "sql", on_event="e", condition="(event ->> 'n')::int > 5 -- big", priority=50)
    rule(db, "both", on_event="e", conditions={">": [{"var": "n"}, 5]})
    rule(db, "always", ruleset="s", priority=1)
    rule(db, "off", ruleset="s", enabled=False)
    rule(db, "later", ruleset="s", valid_from="2999-01-01")
    context = {"n": 7, "items": [{"price": 3}, {"price": 30}]}
    assert asked(db, context) == ["always", "sql", "both", "logic"]
    assert asked(db, context, "s") == ["always", "logic"]
    assert asked(db, {"n": 1}) == ["always"]
    (found,) = asked(db, context, "s", "matched, actions, error")[:1]
    assert found == (True, [{"emit": "seen", "payload": {"n": 7}}], None)
    everyone = db.rows("SELECT rule, matched FROM automate.evaluate_rules('{\"n\": 1}', all_rules => true)")
    assert dict(everyone) == {"always": True, "sql": False, "both": False, "logic": False, "later": False}
    # Which way was taken can be seen.
    forms = dict(db.rows("SELECT name, condition_sql IS NULL FROM automate.rule WHERE conditions IS NOT NULL"))
    assert forms == {"logic": True, "both": False}
    done(db)
    assert db.one("SELECT count(*) FROM automate.event") == 0


def test_what_cannot_be_asked_says_so_and_disturbs_nobody(sets: Database) -> None:
    db = sets
    rule(db, "bad", on_event="e", condition="(event ->> 'n')::int > 5")
    rule(db, "good", on_event="e", condition="event ->> 'n' = 'x'")
    rule(db, "nan", ruleset="s", conditions={">": [{"+": [{"var": "n"}, 1]}, 0]})
    rule(db, "jq", actions='[{"emit": "e", "payload": "${ .event.n | error }"}]', ruleset="s")
    found = {row[0]: row[1:] for row in asked(db, {"n": "x"}, what="rule, matched, error")}
    assert found["good"] == (True, None)
    assert found["bad"][0] is None and found["bad"][1].startswith("22P02")
    assert found["nan"][0] is None and "NaN" in found["nan"][1]
    assert found["jq"][0] is True and "action 1" in found["jq"][1]
    assert asked(db, {"n": 9}) == ["bad", "jq", "nan"]


def test_policies(sets: Database) -> None:
    db = sets
    for policy in ("first", "unique", "collect"):
        db.execute("SELECT automate.create_ruleset(%s, %s)", [policy, policy])
        for number in (1, 2, 3):
            rule(db, f"{policy}{number}", ruleset=policy, priority=10 - number, conditions={">": [{"var": "n"}, number]})
    assert asked(db, {"n": 9}, "first") == ["first3"]
    assert asked(db, {"n": 2.5}, "first") == ["first2"]
    assert asked(db, {"n": 9}, "collect") == ["collect3", "collect2", "collect1"]
    assert asked(db, {"n": 1.5}, "unique") == ["unique1"]
    found = asked(db, {"n": 2.5}, "unique", "rule, matched, actions IS NULL, error LIKE '21000: 2 rules%%'")
    assert found == [("unique2", True, True, True), ("unique1", True, True, True)]


def test_execute_is_the_callers_transaction(sets: Database) -> None:
    db = sets
    rule(db, "r", NOTE, ruleset="s", conditions={"in": [{"var": "n"}, [1, 2]]})
    rule(db, "other", NOTE, ruleset="s", conditions={"==": [{"var": "n"}, 3]})
    caller = db.connect(autocommit=False)
    caller.execute("SELECT * FROM automate.execute_rules('{\"n\": 1}')")
    caller.rollback()
    rows = caller.execute("SELECT rule, job, actions, error FROM automate.execute_rules('{\"n\": 2}', 's')").fetchall()
    caller.commit()
    ((name, job, actions, error),) = rows
    assert name == "r" and error is None and actions[0]["params"] == ["r", {"n": 2}]
    done(db)
    assert db.rows("SELECT rule, event FROM noted") == [("r", {"n": 2})]
    assert db.rows("SELECT source, status FROM automate.job_history WHERE id = %s", [job]) == [("rule:r", "succeeded")]


def test_new_and_old_are_the_contexts(sets: Database) -> None:
    db = sets
    actions = json.dumps([{"sql": "INSERT INTO noted VALUES ($1, $2)", "params": ["${ .new.id }", "${ .old }"]}])
    rule(db, "r", actions, ruleset="s")
    db.execute("SELECT automate.execute_rules('{\"new\": {\"id\": 5}, \"old\": {\"id\": 4}}')")
    done(db)
    assert db.rows("SELECT rule, event FROM noted") == [("5", {"id": 4})]


def test_every_session_sees_a_change_at_once(sets: Database) -> None:
    db = sets
    rule(db, "r", ruleset="s", conditions={">": [{"var": "n"}, 5]})
    other = db.connect()
    held = db.connect(autocommit=False)
    for session in (other, held):
        assert asked(session, {"n": 7}) == ["r"]
    db.execute("SELECT automate.alter_rule('r', conditions => '{\">\": [{\"var\": \"n\"}, 9]}')")
    for session in (other, held):
        assert asked(session, {"n": 7}) == []
    db.execute("SELECT automate.disable_rule('r')")
    assert asked(other, {"n": 10}) == []
    db.execute("SELECT automate.enable_rule('r')")
    assert asked(other, {"n": 10}) == ["r"]
    # A change that is rolled back is forgotten, and until then only its author's.
    held.execute("SELECT automate.drop_rule('r')")
    assert asked(held, {"n": 10}) == [] and asked(other, {"n": 10}) == ["r"]
    held.rollback()
    assert asked(held, {"n": 10}) == ["r"]
    # An old snapshot is not kept for the next transaction.
    old = db.connect(autocommit=False)
    old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    old.execute("SELECT 1")
    db.execute("SELECT automate.drop_rule('r')")
    asked(old, {"n": 10})
    old.rollback()
    assert asked(old, {"n": 10}) == []


def test_rules_are_asked_as_their_owners(db: Database, role: Callable[..., str]) -> None:
    names = {who: role(who) for who in ("ann", "bob", "boss")}
    db.execute(f"GRANT {names['ann']} TO {names['boss']}")
    sessions = {who: db.connect(name) for who, name in names.items()}
    for who in ("ann", "bob"):
        sessions[who].execute("CREATE TABLE " + who + "_seen (x int)")
        rule(sessions[who], who, on_event="e", condition=f"current_user = '{names[who]}'")
    assert asked(sessions["ann"], {}) == ["ann"]
    assert asked(sessions["bob"], {}) == ["bob"]
    assert asked(sessions["boss"], {}) == ["ann"]
    assert asked(db, {}) == ["ann", "bob"]
    db.execute(f"REVOKE {names['ann']} FROM {names['boss']}")
    assert asked(sessions["boss"], {}) == []
    # Conditions read only.
    db.execute("CREATE FUNCTION write() RETURNS boolean LANGUAGE sql AS 'INSERT INTO ann_seen VALUES (1); SELECT true'")
    rule(sessions["ann"], "writes", on_event="e", condition="write()")
    assert [r for r in asked(sessions["ann"], {}, what="rule, left(error, 5)") if r[1]] == [("writes", "25006")]


def test_jsonlogic_without_a_sql_form_on_an_event(sets: Database) -> None:
    db = sets
    rule(db, "sum", NOTE, on_event="e", conditions={
        ">": [{"reduce": [{"var": "items"}, {"+": [{"var": "current.price"}, {"var": "accumulator"}]}, 0]}, 100]})
    assert db.one("SELECT condition_sql IS NULL FROM automate.rule")
    db.execute("SELECT automate.emit_event('e', '{\"items\": [{\"price\": 60}, {\"price\": 41}]}')")
    db.execute("SELECT automate.emit_event('e', '{\"items\": [{\"price\": 60}]}')")
    done(db)
    assert db.one("SELECT count(*) FROM noted") == 1
    assert db.rows("SELECT status FROM automate.job_history WHERE status <> 'succeeded'") == []


def test_refusals(sets: Database) -> None:
    db = sets
    rule_call = "create_rule('x', '[{\"emit\": \"e\"}]'"
    for call, state, hint in (
        ("evaluate_rules('[1]')", "22023", "amount"),
        ("evaluate_rules(NULL)", "22004", "context"),
        ("evaluate_rules('{}', 'ss')", "42704", '"s"'),
        ("execute_rules('{}', 'ss')", "42704", '"s"'),
        (rule_call + ")", "22023", "on_table"),
        (rule_call + ", ruleset => 't')", "42704", ""),
        (rule_call + ", ruleset => 's', stop => true)", "22023", ""),
        (rule_call + ", ruleset => 's', conditions => '{\"fliter\": [1, 2]}')", "22023", '"filter"'),
        (rule_call + ", on_event => 'e', conditions => '{\"fliter\": [1, 2]}')", "22023", "filter"),
        (rule_call + ", on_event => 'e', conditions => '{\"==\": [1]}')", "22023", ""),
        (rule_call + ", ruleset => 's', condition => 'nonsense(')", "42601", ""),
    ):
        with pytest.raises(psycopg.Error) as refused:
            db.execute(f"SELECT automate.{call}")
        diag = refused.value.diag
        assert diag.sqlstate == state and hint in (diag.message_hint or ""), (call, diag.sqlstate, diag.message_primary, diag.message_hint)
        assert diag.message_detail


# -- the SQL form against JsonLogic itself ---------------------------------------------------------

TYPES = {"status": "text", "amount": "numeric", "qty": "int", "ratio": "float8", "ok": "boolean", "code": "text"}


def literal(dice: random.Random, kind: str) -> Any:
    if kind == "boolean":
        return dice.random() < 0.5
    if kind == "text":
        return dice.choice(["paid", "new", "a'b", "", "Zürich", "pa", "x\\y"])
    if kind == "int":
        return dice.randint(-2, 6)
    return dice.choice([-1.5, 0, 0.1, 2, 2.5, 3.75, 100])


def random_logic(dice: random.Random, depth: int = 0) -> Any:
    if depth < 3 and dice.random() < 0.45:
        kind = dice.choice(["and", "or", "!", "if"])
        count = {"!": 1, "if": 3}.get(kind, dice.randint(1, 3))
        return {kind: [random_logic(dice, depth + 1) for _ in range(count)]}
    column, kind = dice.choice(list(TYPES.items()))
    var = {"var": dice.choice([column, f"new.{column}"])}
    if kind == "boolean":
        return dice.choice([var, {"!!": [var]}, {"==": [var, literal(dice, kind)]}, {"!=": [var, literal(dice, kind)]}])
    same = [{"var": name} for name, other in TYPES.items() if (other == "text") == (kind == "text") and other != "boolean"]
    value = lambda: dice.choice([literal(dice, kind), literal(dice, kind), dice.choice(same)])  # noqa: E731
    shape = dice.randint(0, 4)
    if shape == 0:
        return {"in": [var, [literal(dice, kind) for _ in range(dice.randint(0, 3))]]}
    if shape == 1 and kind == "text":
        return {"in": [literal(dice, kind), var]}
    if shape == 1:
        return {dice.choice(["<", "<="]): [literal(dice, kind), var, literal(dice, kind)]}
    sides = [var, value()]
    dice.shuffle(sides)
    operators = ["==", "!=", "===", "!=="] + ([] if kind == "text" else ["<", "<=", ">", ">="])
    if any(isinstance(side, dict) and TYPES.get(side["var"].split(".")[-1]) != kind for side in sides):
        operators = [operator for operator in operators if len(operator) < 3]
    return {dice.choice(operators): sides}


def test_the_sql_form_says_what_jsonlogic_says(sets: Database) -> None:
    """Random rules on random rows without NULL: PostgreSQL and datalogic agree on each pair."""
    db = sets
    dice = random.Random(20260125)
    columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
    db.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns})")
    for number in range(40):
        row = [literal(dice, kind) for kind in TYPES.values()]
        db.execute(f"INSERT INTO t VALUES (%s{', %s' * len(row)})", [number, *row])
    rules = [random_logic(dice) for _ in range(250)]
    for number, logic in enumerate(rules):
        rule(db, f"t{number}", on_table="t", conditions=logic)
        # The rows of the context are the row itself, and new.
        rule(db, f"{number}", ruleset="s", conditions=logic)
    sql = dict(db.rows("SELECT substr(name, 2)::int, condition_sql FROM automate.rule WHERE on_table IS NOT NULL"))
    by_sql = {number: {id_ for (id_,) in db.rows(f"SELECT id FROM t AS new WHERE {sql[number].replace('%', '%%')}", [])} for number in sql}
    by_logic: dict[int, set[int]] = {number: set() for number in sql}
    for id_, names, errors in db.rows("""
            SELECT t.id, array_agg(e.rule), array_agg(e.error) FILTER (WHERE e.error IS NOT NULL) FROM t,
            automate.evaluate_rules(to_jsonb(t) || jsonb_build_object('new', to_jsonb(t)), 's') AS e GROUP BY t.id"""):
        assert errors is None
        for name in names:
            by_logic[int(name)].add(id_)
    wrong = [(rules[n], sql[n], by_sql[n] ^ by_logic[n]) for n in sql if by_sql[n] != by_logic[n]]
    assert wrong == []
    matched = sum(len(ids) for ids in by_sql.values())
    assert len(sql) == 250 and 2_000 < matched < 8_000
