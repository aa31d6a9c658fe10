-- The tables whose changes make a trigger of type custom look again.

CREATE TABLE automate.trigger_table (
    trigger  uuid NOT NULL REFERENCES automate.trigger ON DELETE CASCADE,
    relation regclass NOT NULL,
    owner    regrole NOT NULL,
    PRIMARY KEY (trigger, relation)
);
CREATE INDEX trigger_table_relation ON automate.trigger_table (relation);
SELECT pg_catalog.pg_extension_config_dump('automate.trigger_table', '');
COMMENT ON TABLE automate.trigger_table IS
'The tables after whose changes a trigger of type custom looks again: the option "tables" of automate.create_trigger. Each of them, and each table below it, has our trigger pg_automate_recheck.';
COMMENT ON COLUMN automate.trigger_table.trigger IS 'Id in automate.trigger.';
COMMENT ON COLUMN automate.trigger_table.relation IS 'The table.';
COMMENT ON COLUMN automate.trigger_table.owner IS 'Owner of the trigger.';

ALTER TABLE automate.trigger_table ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.trigger_table FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.trigger_table IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE FUNCTION automate.recheck() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_recheck';
COMMENT ON FUNCTION automate.recheck() IS
'The trigger of a table that triggers of type custom name: notes in shared memory, at commit, that it was changed. It writes nothing and waits for nobody. Made and removed by automate.keep_recheck.';

CREATE FUNCTION automate.keep_recheck(tables oid[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part record;
    there boolean;
    wanted boolean;
BEGIN
    FOR part IN
        WITH RECURSIVE below AS (
            SELECT c.oid FROM pg_class AS c WHERE c.oid = ANY (tables)
            UNION SELECT i.inhrelid FROM below AS b JOIN pg_inherits AS i ON i.inhparent = b.oid)
        SELECT b.oid, b.oid::regclass AS name FROM below AS b JOIN pg_class AS c ON c.oid = b.oid
        WHERE c.relkind IN ('r', 'p') ORDER BY b.oid
    LOOP
        -- One after the other: whoever names the table, and whoever names it no more, see each other's rows. No writer waits.
        PERFORM pg_advisory_xact_lock(hashtextextended('pg_automate_recheck', part.oid::bigint));
        there := EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = part.oid AND t.tgname = 'pg_automate_recheck');
        wanted := EXISTS (
            WITH RECURSIVE above AS (
                SELECT part.oid AS oid
                UNION SELECT i.inhparent FROM above AS a JOIN pg_inherits AS i ON i.inhrelid = a.oid)
            SELECT FROM above AS a JOIN automate.trigger_table AS w ON w.relation::oid = a.oid
            JOIN automate.trigger AS t ON t.id = w.trigger WHERE t.status <> 'disabled');
        IF wanted AND NOT there THEN
            EXECUTE format('CREATE TRIGGER pg_automate_recheck AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION automate.recheck()', part.name);
            -- DROP EXTENSION takes it along without CASCADE.
            EXECUTE format('ALTER TRIGGER pg_automate_recheck ON %s DEPENDS ON EXTENSION pg_automate', part.name);
        ELSIF there AND NOT wanted THEN
            EXECUTE format('DROP TRIGGER pg_automate_recheck ON %s', part.name);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION automate.keep_recheck(oid[]) IS
'For automate.create_trigger and its siblings: gives tables and those below them the trigger that notes their changes, and takes it away where no custom trigger that is not disabled names them any more.';
