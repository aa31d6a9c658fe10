"""Many rules on one table: found by the row's values, and their matches written by the statement."""

from __future__ import annotations

import random
from typing import Any

import psycopg
import pytest

from support.database import Database

# It reads the whole rows, so that its matches keep them.
EMIT = '[{"emit": "seen", "payload": "${ {new, old} }"}]'
COLUMNS = {
    "small": "smallint", "whole": "int", "large": "bigint", "exact": "numeric", "rough": "float8",
    "word": "text", "day": "date", "at": "timestamptz", "code": "uuid", "short": "varchar(9)",
}


def value(kind: str, dice: random.Random) -> str:
    """A literal of a type, from few enough that rules and rows meet."""
    n = dice.randint(-4, 12)
    return {
        "smallint": f"{n}", "int": f"{n}", "bigint": f"{n}",
        "numeric": f"{n}.{dice.choice(['0', '5', '50'])}",
        "float8": dice.choice([f"{n}", f"{n}.5", "'NaN'", "'-Infinity'"]),
        "text": f"'{dice.choice('abcdeÄé')}{max(n, 0)}'", "varchar(9)": f"'v{max(n, 0)}'",
        "date": f"date '2026-01-10' + {n}", "timestamptz": f"timestamptz '2026-01-10 UTC' + interval '{n} hours'",
        "uuid": f"'00000000-0000-4000-8000-0000000000{max(n, 0):02}'",
    }[kind]


def constant(column: str, dice: random.Random) -> str:
    """What stands in a condition: a constant, of the column's type or of one that compares with it."""
    kind = COLUMNS[column]
    literal = value(kind, dice)
    return literal if kind in ("smallint", "int", "bigint") else f"({literal})::{kind}"


def condition(dice: random.Random) -> str:
    column = dice.choice(list(COLUMNS))
    # @: no row is named, which means new.
    side = dice.choice(["@", "new.", "new.", "old."])
    a, b = constant(column, dice), constant(column, dice)
    test = dice.choice([
        f"{side}{column} = {a}", f"{a} = {side}{column}", f"{side}{column} IN ({a}, {b}, {a})",
        f"{side}{column} BETWEEN {a} AND {b}", f"{side}{column} > {a}", f"{a} >= {side}{column}",
        f"{side}{column} >= {a} AND {side}{column} < {b}", f"{side}{column} <> {a}",
        f"NOT {side}{column} < {a}", f"{side}{column} = {a} OR {side}{column} > {b}",
    ])
    other = dice.choice(list(COLUMNS))
    return dice.choice([test, test, f"({test}) AND @{other} >= {constant(other, dice)}",
                        f"@{other} IS NOT NULL AND {test}"])


@pytest.mark.parametrize("seed", range(4))
def test_rules_found_by_values_are_those_that_match(db: Database, seed: int) -> None:
    """Random conditions on random rows, against the same conditions in a query."""
    dice = random.Random(seed)
    db.execute("SELECT automate.pause()")
    db.execute(f"CREATE TABLE stock (id int PRIMARY KEY, {', '.join(f'{c} {t}' for c, t in COLUMNS.items())})")
    conditions = [condition(dice) for _ in range(120)]
    for number, text in enumerate(conditions):
        db.execute("SELECT automate.create_rule(%s, %s, on_table => 'stock', operations => '{insert,update,delete}', condition => %s)",
                   [f"r{number}", EMIT, text.replace("@", "")])
    names = ", ".join(COLUMNS)
    for number in range(60):
        row = ", ".join("NULL" if dice.random() < 0.1 else f"({value(kind, dice)})::{kind}" for kind in COLUMNS.values())
        db.execute(f"INSERT INTO stock VALUES ({number}, {row})")
    for number in range(0, 60, 2):
        row = ", ".join("NULL" if dice.random() < 0.1 else f"({value(kind, dice)})::{kind}" for kind in COLUMNS.values())
        db.execute(f"UPDATE stock SET ({names}) = ROW({row}) WHERE id = {number}")
    db.execute("DELETE FROM stock WHERE id % 3 = 0")
    # Every change with its rows, as the queue tells of them for a rule that always matches.
    db.execute("SELECT automate.create_rule('all', %s, on_table => 'stock', operations => '{insert,update,delete}')", [EMIT])
    got = db.rows("SELECT substr(source, 6), payload->'new', payload->'old', payload->'event'->>'op' FROM automate.job WHERE kind = 'rule'")
    found: dict[str, set[str]] = {}
    for name, new, old, operation in got:
        found.setdefault(name, set()).add(f"{operation} {new} {old}")
    assert sum(map(len, found.values())) > 200
    changes = db.rows("SELECT DISTINCT payload->>'new', payload->>'old', payload->'event'->>'op' FROM automate.job WHERE kind = 'rule'")
    for number, text in enumerate(conditions):
        expected = set()
        for new, old, operation in changes:
            matches = db.rows(
                f"SELECT FROM jsonb_populate_record(NULL::stock, %s) AS new, jsonb_populate_record(NULL::stock, %s) AS old WHERE {text.replace('@', 'new.')}",
                [new if new != "null" else None, old if old != "null" else None])
            if matches:
                expected.add((operation, new, old))
        assert len(found.get(f"r{number}", set())) == len(expected), text


def waiting(db: Database, source: str = "rule:%") -> Any:
    return db.rows("SELECT count(*) FROM automate.job WHERE source LIKE %s", [source])[0][0]


@pytest.fixture
def lines(db: Database) -> Database:
    db.execute("SELECT automate.pause()")
    db.execute("CREATE TABLE lines (id int, note text)")
    db.execute("SELECT automate.create_rule('any', %s, on_table => 'lines', operations => '{insert,update,delete}')", [EMIT])
    db.execute("SELECT automate.create_rule('even', %s, on_table => 'lines', condition => 'new.id IN (2, 4, 6)')", [EMIT])
    return db


def test_matches_are_there_after_their_statement(lines: Database) -> None:
    db = lines
    with db.admin.transaction():
        db.execute("INSERT INTO lines SELECT i FROM generate_series(1, 3) AS i")
        assert waiting(db) == 4
        db.execute("UPDATE lines SET note = 'x'")
        assert waiting(db) == 8
    ids = db.rows("SELECT payload->'new'->>'id' FROM automate.job WHERE source = 'rule:any' ORDER BY id")
    assert [int(row[0]) for row in ids] == [1, 2, 3, 1, 2, 3]


def test_more_than_are_written_at_once(lines: Database) -> None:
    lines.execute("INSERT INTO lines SELECT i FROM generate_series(1, 2500) AS i")
    assert waiting(lines, "rule:any") == 2500
    assert lines.rows("SELECT count(DISTINCT payload->'new'->>'id') FROM automate.job WHERE source = 'rule:any'") == [(2500,)]


def test_large_rows_are_written_before_they_are_many(lines: Database) -> None:
    lines.execute("INSERT INTO lines SELECT i, repeat('x', 300000) FROM generate_series(1, 40) AS i")
    assert waiting(lines, "rule:any") == 40


def test_copy_and_what_a_failed_part_did(lines: Database) -> None:
    db = lines
    with db.admin.cursor().copy("COPY lines (id) FROM STDIN") as copy:
        copy.write("".join(f"{i}\n" for i in range(1, 1501)))
    assert waiting(db, "rule:any") == 1500
    with pytest.raises(psycopg.Error), db.admin.cursor().copy("COPY lines (id) FROM STDIN") as copy:
        copy.write("1\n2\nnot a number\n")
    assert waiting(db, "rule:any") == 1500


def test_matches_end_with_their_subtransaction(lines: Database) -> None:
    db = lines
    db.execute(
        """
        DO $$ BEGIN
            INSERT INTO lines VALUES (1);
            BEGIN
                INSERT INTO lines VALUES (2);
                BEGIN INSERT INTO lines VALUES (3); END;
                INSERT INTO lines VALUES (4), (1 / 0);
            EXCEPTION WHEN division_by_zero THEN
                INSERT INTO lines VALUES (5);
            END;
        END $$
        """
    )
    assert db.rows("SELECT payload->'new'->>'id' FROM automate.job ORDER BY id") == [("1",), ("5",)]


def test_a_part_that_fails_inside_of_a_statement(lines: Database) -> None:
    """Another trigger of the statement opens a subtransaction between our rows and fails in it."""
    db = lines
    db.execute(
        """
        CREATE TABLE others (id int);
        SELECT automate.create_rule('other', '[{"emit": "seen", "payload": "${ {new} }"}]', on_table => 'others');
        CREATE FUNCTION tries() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            BEGIN
                INSERT INTO others VALUES (NEW.id);
                PERFORM 1 / (NEW.id - 2);
            EXCEPTION WHEN division_by_zero THEN NULL;
            END;
            RETURN NULL; END $$;
        CREATE TRIGGER tries AFTER INSERT ON lines FOR EACH ROW EXECUTE FUNCTION tries();
        INSERT INTO lines VALUES (1), (2), (3);
        """
    )
    seen = "SELECT payload->'new'->>'id' FROM automate.job WHERE source = %s ORDER BY id"
    assert db.rows(seen, ["rule:any"]) == [("1",), ("2",), ("3",)]
    assert db.rows(seen, ["rule:other"]) == [("1",), ("3",)]
    assert waiting(db, "rule:even") == 1


def test_savepoints_and_cursors(lines: Database) -> None:
    db = lines
    with db.admin.transaction():
        db.execute("INSERT INTO lines VALUES (1); SAVEPOINT a; INSERT INTO lines VALUES (2); ROLLBACK TO a")
        db.execute("INSERT INTO lines VALUES (3); SAVEPOINT b; INSERT INTO lines VALUES (5); RELEASE b")
    assert db.rows("SELECT payload->'new'->>'id' FROM automate.job ORDER BY id") == [("1",), ("3",), ("5",)]


def test_an_error_at_the_end_of_a_statement_leaves_nothing(lines: Database) -> None:
    db = lines
    db.execute("CREATE UNIQUE INDEX ON lines (id)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute("INSERT INTO lines VALUES (1), (2), (1)")
    db.execute("INSERT INTO lines VALUES (7)")
    assert db.rows("SELECT payload->'new'->>'id' FROM automate.job") == [("7",)]
