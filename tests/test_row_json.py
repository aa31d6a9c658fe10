"""Rows in the queue are written as PostgreSQL's own row_to_json writes them."""

from __future__ import annotations

import pytest

from support.database import Database

# A type, and values at its edges.
VALUES = {
    "boolean": ["true", "false"],
    "smallint": ["0", "-32768", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "numeric": ["0.00", "-12345678901234567890.123456789", "1e300", "'NaN'", "'-Infinity'", "'Infinity'"],
    "numeric(9, 2)": ["3.14"],
    "real": ["1.5", "1e-30", "'NaN'", "'Infinity'", "'-Infinity'"],
    "double precision": ["0.1", "-1e300", "1e-300", "'-Infinity'", "'NaN'"],
    "text": ["''", r"E'a\"b\\\\c\n\r\t\b\f\x01\x1f\x7f'", "'Zürich 北京 🛩'", "repeat('long ', 3000)"],
    "varchar(20)": ["'short'"],
    "char(5)": ["'ab'"],
    "name": ["'a name'"],
    '"char"': ["'x'"],
    "date": ["'2026-02-28'", "'0044-03-15 BC'", "'infinity'", "'-infinity'", "'12345-01-01'"],
    "timestamp": ["'2026-01-31 08:00'", "'2026-01-31 08:00:00.000001'", "'infinity'", "'0001-01-01 BC'"],
    "timestamptz": ["'2026-01-31 08:00+01'", "'-infinity'", "'1850-01-01 00:00 UTC'"],
    "time": ["'08:00:00.5'"],
    "timetz": ["'08:00+02'"],
    "interval": ["'1 month -2 days 03:00'"],
    "uuid": ["'00000000-0000-4000-8000-000000000000'"],
    "bytea": [r"'\x00ff'"],
    "inet": ["'10.0.0.1/8'"],
    "money": ["12.5"],
    "bit(3)": ["B'101'"],
    "int4range": ["'[1,5)'"],
    "tsvector": ["'a b'"],
    "point": ["'(1,2)'"],
    "oid": ["4294967295"],
    "xml": ["'<a>&amp;</a>'"],
}


def literal(kind: str, value: str) -> str:
    return f"({value})::{kind}"


@pytest.mark.parametrize("settings", ["", "SET datestyle = 'German, DMY'; SET intervalstyle = 'iso_8601'; SET timezone = 'Asia/Kathmandu';"
                                      " SET extra_float_digits = 0; SET bytea_output = 'escape'"])
def test_a_row_of_every_kind_of_type(db: Database, settings: str) -> None:
    db.execute("SELECT automate.pause()")
    columns = ", ".join(f'"c {number}" {kind}' for number, kind in enumerate(VALUES))
    db.execute(f"CREATE TABLE wide ({columns}, gone int, \"quo\"\"ted\" int GENERATED ALWAYS AS (7) STORED)")
    db.execute("ALTER TABLE wide DROP COLUMN gone")
    db.execute("""SELECT automate.create_rule('any', '[{"emit": "e", "payload": "${ {new} }"}]', on_table => 'wide')""")
    session = db.connect()
    if settings:
        session.execute(settings)
    for number in range(max(map(len, VALUES.values()))):
        row = ", ".join(literal(kind, values[number % len(values)]) for kind, values in VALUES.items())
        session.execute(f"INSERT INTO wide VALUES ({row})")
    session.execute("INSERT INTO wide DEFAULT VALUES")
    wanted = session.execute("SELECT row_to_json(w)::text FROM wide AS w ORDER BY ctid").fetchall()
    got = session.execute("SELECT (payload->'new')::text FROM automate.job ORDER BY id").fetchall()
    assert got == wanted


def test_columns_that_are_made_of_parts(db: Database) -> None:
    db.execute("SELECT automate.pause()")
    db.execute("CREATE TYPE pair AS (a int, b text); CREATE TYPE mood AS ENUM ('good'); CREATE DOMAIN short AS text")
    db.execute("CREATE TABLE parts (a int[], p pair, m mood, s short, j jsonb)")
    db.execute("""SELECT automate.create_rule('any', '[{"emit": "e", "payload": "${ {new} }"}]', on_table => 'parts')""")
    db.execute("""INSERT INTO parts VALUES ('{1,2}', '(1,x)', 'good', 'a"b', '{"k": [1, 2]}')""")
    wanted = db.rows("SELECT row_to_json(t)::text FROM parts AS t")
    assert db.rows("SELECT (payload->'new')::text FROM automate.job") == wanted
