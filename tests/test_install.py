"""The extension installs cleanly: documented, granted to nobody, refused beside a squatter."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg import errors

from support import paths
from support.cluster import Cluster
from support.database import Database

# Objects of the extension, as (class, oid) in pg_depend.
MEMBERS = """
    SELECT d.classid, d.objid FROM pg_depend AS d JOIN pg_extension AS e ON d.refobjid = e.oid
    WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'pg_automate'
"""


def test_version(db: Database) -> None:
    installed = db.one("SELECT extversion FROM pg_extension WHERE extname = 'pg_automate'")
    assert db.one("SELECT automate.version()") == installed


def test_every_object_has_a_comment(db: Database) -> None:
    missing = db.rows(f"""
        WITH member AS ({MEMBERS})
        SELECT pg_describe_object(m.classid, m.objid, 0)
        FROM member AS m
        LEFT JOIN pg_class AS c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
        LEFT JOIN pg_type AS t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
        WHERE coalesce(c.relkind IN ('r', 'v', 'm', 'p', 'S'), true)
          -- partitions, array types and the row types of tables describe themselves
          AND NOT coalesce(c.relispartition, false)
          AND coalesce(t.typelem = 0 AND t.typrelid = 0, true)
          -- sequences behind identity columns belong to their column
          AND NOT EXISTS (
              SELECT FROM pg_depend AS i WHERE i.classid = m.classid AND i.objid = m.objid
              AND i.deptype = 'i')
          AND obj_description(m.objid, m.classid::regclass::name) IS NULL
        ORDER BY 1
    """)
    assert missing == []
    assert db.one(f"SELECT count(*) FROM ({MEMBERS}) AS m") > 1


def test_every_column_has_a_comment(db: Database) -> None:
    missing = db.rows("""
        SELECT a.attrelid::regclass, a.attname
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'automate'::regnamespace AND c.relkind IN ('r', 'p', 'v')
          AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
          AND col_description(c.oid, a.attnum) IS NULL
    """)
    assert missing == []


def test_nothing_is_granted_to_public(db: Database) -> None:
    granted = db.rows("""
        SELECT p.oid::regprocedure::text FROM pg_proc AS p
        CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
        WHERE p.pronamespace = 'automate'::regnamespace AND a.grantee = 0
        UNION ALL
        SELECT c.oid::regclass::text FROM pg_class AS c
        CROSS JOIN LATERAL aclexplode(c.relacl) AS a
        WHERE c.relnamespace = 'automate'::regnamespace AND a.grantee = 0
        UNION ALL
        SELECT n.nspname FROM pg_namespace AS n CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
        WHERE n.nspname = 'automate' AND a.grantee = 0
        ORDER BY 1
    """)
    assert granted == []


def test_tables_are_written_by_functions_only(db: Database) -> None:
    granted = db.rows("""
        SELECT c.oid::regclass::text, a.grantee::regrole::text, a.privilege_type
        FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
        WHERE c.relnamespace = 'automate'::regnamespace AND a.grantee <> c.relowner
          AND a.privilege_type <> 'SELECT'
    """)
    assert granted == []


def test_row_security_is_forced_on_every_table(db: Database) -> None:
    open_tables = db.rows("""
        SELECT c.oid::regclass::text FROM pg_class AS c
        WHERE c.relnamespace = 'automate'::regnamespace AND c.relkind IN ('r', 'p')
          AND NOT c.relispartition AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
        ORDER BY 1
    """)
    assert open_tables == []


def test_no_function_is_security_definer(db: Database) -> None:
    assert db.rows("""
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = 'automate'::regnamespace AND prosecdef
    """) == []


def test_sql_functions_fix_their_search_path(db: Database) -> None:
    assert db.rows("""
        SELECT p.oid::regprocedure::text
        FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
        WHERE p.pronamespace = 'automate'::regnamespace AND l.lanname IN ('sql', 'plpgsql')
          -- A body that was parsed when it was created (BEGIN ATOMIC) looks nothing up later.
          AND p.prosqlbody IS NULL
          AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)
    """) == []


def test_a_squatted_schema_is_refused(bare_db: Database) -> None:
    bare_db.execute("CREATE SCHEMA automate")
    with pytest.raises(errors.DuplicateSchema) as refused:
        bare_db.execute("CREATE EXTENSION pg_automate")
    assert refused.value.sqlstate == "42P06"


def test_an_ordinary_role_cannot_install(bare_db: Database, _roles: list[str]) -> None:
    _roles.append("nobody_special")
    bare_db.execute("CREATE ROLE nobody_special LOGIN")
    with pytest.raises(errors.InsufficientPrivilege):
        bare_db.connect("nobody_special").execute("CREATE EXTENSION pg_automate")


def test_another_encoding_is_refused(cluster: Cluster) -> None:
    with cluster.connect() as connection:
        connection.execute(
            "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        try:
            with cluster.connect("latin") as inside, pytest.raises(errors.FeatureNotSupported) as refused:
                inside.execute("CREATE EXTENSION pg_automate")
            assert "LATIN1" in (refused.value.diag.message_detail or "")
            assert "UTF8" in (refused.value.diag.message_hint or "")
        finally:
            connection.execute("DROP DATABASE latin")


def test_a_role_without_usage_is_refused(
    db: Database, role: Callable[..., str]
) -> None:
    stranger = db.connect(role("stranger", level=None))
    with pytest.raises(errors.InsufficientPrivilege):
        stranger.execute("SELECT automate.version()")


def test_install_drop_install(db: Database) -> None:
    db.execute("DROP EXTENSION pg_automate")
    assert db.one("SELECT count(*) FROM pg_namespace WHERE nspname = 'automate'") == 0
    db.execute("CREATE EXTENSION pg_automate")
    assert db.one("SELECT automate.version()")


def test_without_preload_a_warning_says_what_to_add(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(preload=False, fsync=False)
    notices: list[tuple[str | None, str | None]] = []
    with cluster.connect() as connection:
        # A diagnostic is readable only while the handler runs.
        connection.add_notice_handler(lambda n: notices.append((n.severity, n.message_hint)))
        connection.execute("CREATE EXTENSION pg_automate")
        assert connection.execute("SELECT automate.version()").fetchone()
    ((severity, hint),) = notices
    assert severity == "WARNING"
    assert "shared_preload_libraries" in (hint or "")


def test_deploy_puts_the_built_files_where_pg_config_says(tmp_path: Path) -> None:
    lib, share = tmp_path / "lib", tmp_path / "share"
    lib.mkdir()
    (share / "extension").mkdir(parents=True)
    config = tmp_path / "pg_config"

    def deploy(version: str) -> subprocess.CompletedProcess[str]:
        answers = f"--version) echo 'PostgreSQL {version}';; --pkglibdir) echo '{lib}';; --sharedir) echo '{share}';;"
        config.write_text(f'#!/bin/sh\ncase $1 in {answers} esac\n')
        config.chmod(0o755)
        return subprocess.run([paths.ROOT / "scripts/deploy.sh", config], capture_output=True, text=True)

    refused = deploy("14.2")
    assert refused.returncode == 1 and "hint:" in refused.stderr and not list(lib.iterdir())
    done = deploy("15.9 (Debian)")
    assert done.returncode == 0, done.stderr
    built = paths.bin_dir().parent / "lib" / "pg_automate.so"
    assert (lib / "pg_automate.so").read_bytes() == built.read_bytes()
    names = {file.name for file in (share / "extension").iterdir()}
    assert {"pg_automate.control", "pg_automate--0.1.0.sql"} <= names
