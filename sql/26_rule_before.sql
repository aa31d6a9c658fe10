-- Rules before the write: the trigger that leads a row through them.

CREATE FUNCTION automate.capture_before() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_capture_before';
COMMENT ON FUNCTION automate.capture_before() IS
'The trigger of a table with rules before the write: evaluates their conditions on the row that is to be written, sets its columns or refuses it. Made and removed by automate.create_rule and automate.drop_rule.';

CREATE FUNCTION automate.keep_decide(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    -- Triggers of one kind run in the order of their names: the rules judge the row that the table's own have made.
    trigger_name CONSTANT text := 'zz_pg_automate_decide';
    wanted boolean := EXISTS (SELECT FROM automate.rule WHERE on_table = relation AND timing = 'before');
    own boolean;
    part regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class WHERE oid = relation) THEN
        RETURN;
    END IF;
    SELECT tgparentid = 0 INTO own FROM pg_trigger WHERE tgrelid = relation AND tgname = trigger_name;
    IF wanted AND own IS NULL THEN
        -- The trigger of a partitioned table is cloned to its partitions, which must not have one of the name.
        FOR part IN SELECT t.tgrelid FROM pg_partition_tree(relation) AS p JOIN pg_trigger AS t ON t.tgrelid = p.relid
                    WHERE t.tgname = trigger_name AND t.tgparentid = 0 ORDER BY p.level LOOP
            EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, part);
        END LOOP;
        EXECUTE format('CREATE TRIGGER %I BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION automate.capture_before()', trigger_name, relation);
        -- DROP EXTENSION takes it along without CASCADE.
        EXECUTE format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION pg_automate', trigger_name, relation);
    ELSIF own AND NOT wanted THEN
        EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, relation);
        FOR part IN SELECT p.relid FROM pg_partition_tree(relation) AS p JOIN automate.rule AS r ON r.on_table = p.relid
                    WHERE p.relid <> relation AND r.timing = 'before' GROUP BY p.relid, p.level ORDER BY p.level LOOP
            PERFORM automate.keep_decide(part);
        END LOOP;
    END IF;
END
$$;
COMMENT ON FUNCTION automate.keep_decide(regclass) IS
'For automate.create_rule and automate.drop_rule: gives a table the trigger of rules before the write if it has such rules, and takes it away if it has none.';
