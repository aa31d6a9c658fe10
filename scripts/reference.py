#!/usr/bin/env python3
"""Writes docs/reference.md from the comments that the extension puts on its own objects."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.cluster import Cluster  # noqa: E402

TARGET = ROOT / "docs" / "reference.md"
# What only the workers and other functions of ours call.
INTERNAL = re.compile(r"^For |True\. A role that may execute")
MADE = re.compile(r"^CREATE (?:TABLE|VIEW|FUNCTION) automate\.(\w+)", re.MULTILINE)

FUNCTIONS = """
    SELECT p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), obj_description(p.oid, 'pg_proc')
    FROM pg_proc AS p WHERE p.pronamespace = 'automate'::regnamespace AND p.prorettype <> 'trigger'::regtype
"""
COLUMNS = """
    SELECT c.relname, CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END, obj_description(c.oid, 'pg_class'), a.attname, format_type(a.atttypid, a.atttypmod),
           coalesce(col_description(c.oid, a.attnum), '')
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'automate'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
    ORDER BY c.relname, a.attnum
"""
SETTINGS = """
    SELECT name, coalesce(nullif(boot_val, ''), '-') || coalesce(' ' || unit, ''), short_desc || ' ' || extra_desc
    FROM pg_settings WHERE name LIKE 'automate.%' ORDER BY name
"""


def reference(connection: psycopg.Connection[Any]) -> str:
    """The whole page; a section for each SQL file, in its order and under its first line."""
    functions: dict[str, list[tuple[str, str, str]]] = {}
    for name, arguments, result, comment in connection.execute(FUNCTIONS):
        functions.setdefault(name, []).append((arguments, result, comment))
    tables: dict[str, tuple[str, str, list[tuple[str, str, str]]]] = {}
    for table, what, comment, *column in connection.execute(COLUMNS):
        tables.setdefault(table, (what, comment, []))[2].append(tuple(column))
    lines = [
        "# Reference",
        "",
        "Written from the comments in the database by `make docs`; in psql, `\\df+ automate.*` and `\\d+` show the same.",
        "",
    ]
    for path in sorted((ROOT / "sql").glob("[0-9]*.sql")):
        text = path.read_text()
        names = dict.fromkeys(MADE.findall(text))
        section = [line for name in names for line in entry(name, functions, tables)]
        if section:
            lines += [f"## {title(text)}", "", *section]
    return "\n".join([*lines, *settings(connection)]) + "\n"


def title(text: str) -> str:
    """The first sentence of a file, which begins with a comment."""
    return text.splitlines()[0].removeprefix("--").strip().split(". ")[0].rstrip(".")


def entry(name: str, functions: dict[str, Any], tables: dict[str, Any]) -> list[str]:
    """A function with its signature, or a table with its columns; both if both have the name."""
    lines: list[str] = []
    for arguments, result, comment in functions.get(name, []):
        if not name.endswith("_json") and not INTERNAL.search(comment):
            lines += [f"### {name}", "", "```", f"automate.{name}({wrapped(arguments)}) → {result}", "```", "", comment, ""]
    if name in tables:
        what, comment, columns = tables[name]
        lines += [f"### {name} ({what})", "", comment, "", "| column | type | meaning |", "|---|---|---|"]
        lines += [f"| {column} | {kind} | {cell(meaning)} |" for column, kind, meaning in columns] + [""]
    return lines


def wrapped(arguments: str) -> str:
    """A long list of arguments, one a line; without the casts of their defaults."""
    arguments = re.sub(r"::[\w ]+(\[\])?", "", arguments)
    if len(arguments) < 80:
        return arguments
    return "\n    " + ",\n    ".join(re.split(r", (?=\w+ \w)", arguments))


def settings(connection: psycopg.Connection[Any]) -> list[str]:
    rows = connection.execute(SETTINGS).fetchall()
    table = [f"| {name} | {value} | {cell(meaning)} |" for name, value, meaning in rows]
    return ["## Settings", "", "| setting | default | meaning |", "|---|---|---|", *table]


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    with Cluster(fsync=False) as cluster:
        cluster.psql("CREATE EXTENSION pg_automate")
        with cluster.connect() as connection:
            TARGET.write_text(reference(connection))
    print(f"wrote {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
