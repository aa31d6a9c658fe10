-- The schema of the extension. Plain CREATE: a schema of that name made by somebody else is refused.

-- Every text passes through JSON, and JSON is Unicode: with another encoding a single letter could break a write.
DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE EXCEPTION 'pg_automate needs a database with the encoding UTF8'
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = pg_catalog.format('The encoding of this database is %s.', pg_catalog.getdatabaseencoding()),
                  HINT = 'Make one with CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0.';
    END IF;
END
$$;

CREATE SCHEMA automate;
COMMENT ON SCHEMA automate IS
'pg_automate: triggers, rules, tasks, workflows, notifications and reports, run by the database itself. Start with SELECT * FROM automate.status().';

CREATE FUNCTION automate.version() RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_version';
COMMENT ON FUNCTION automate.version() IS
'Version of the library that is loaded, such as 0.1.0.';

-- A marker: whoever may execute it sees every owner's rows. Row security asks for the privilege, nothing calls it.
CREATE FUNCTION automate.see_all() RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'SELECT true';
COMMENT ON FUNCTION automate.see_all() IS
'True. A role that may execute this function (levels monitor and admin) sees the rows of every owner.';

-- Which database these definitions were made in. A second row, or another identity, means a copy: it starts paused.
CREATE TABLE automate.instance (
    system_identifier text NOT NULL,
    database_oid      oid NOT NULL,
    paused            boolean NOT NULL DEFAULT false,
    paused_reason     text,
    PRIMARY KEY (system_identifier, database_oid)
);
COMMENT ON TABLE automate.instance IS
'Identity of the database that owns these definitions, and whether it is paused. Dumped on purpose: a restored copy finds a foreign identity here and starts paused until automate.resume().';
COMMENT ON COLUMN automate.instance.system_identifier IS 'System identifier of the cluster, as pg_control_system() shows it.';
COMMENT ON COLUMN automate.instance.database_oid IS 'OID of the database.';
COMMENT ON COLUMN automate.instance.paused IS 'True: nothing is claimed and nothing is sent.';
COMMENT ON COLUMN automate.instance.paused_reason IS 'Why it is paused, for people.';
INSERT INTO automate.instance (system_identifier, database_oid)
SELECT s.system_identifier::pg_catalog.text, d.oid
FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_database AS d
WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database();
SELECT pg_catalog.pg_extension_config_dump('automate.instance', '');
