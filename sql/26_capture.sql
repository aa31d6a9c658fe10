-- Capture: our triggers on the tables of rules and data triggers, and on the tables below those.

CREATE FUNCTION automate.capture() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_capture';
COMMENT ON FUNCTION automate.capture() IS
'The one row trigger of a table with rules or data triggers: evaluates their conditions on the changed row, queues the matches of rules and records the events of triggers. Made and removed by automate.keep_capture.';

CREATE FUNCTION automate.capture_before() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_capture_before';
COMMENT ON FUNCTION automate.capture_before() IS
'The trigger of a table with rules before the write: evaluates their conditions on the row that is to be written, sets its columns or refuses it. Made and removed by automate.keep_capture.';

CREATE FUNCTION automate.capture_statement() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_capture_statement';
COMMENT ON FUNCTION automate.capture_statement() IS
'The trigger of a table for whole statements and for TRUNCATE: records the events of data triggers that ask for them. Made and removed by automate.keep_capture.';

CREATE FUNCTION automate.wanted_captures(relation regclass)
RETURNS TABLE (name text, bits integer, firing text, always boolean, cloned boolean)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
WITH RECURSIVE above AS (
    SELECT relation::oid AS oid
    UNION SELECT i.inhparent FROM above AS a JOIN pg_inherits AS i ON i.inhrelid = a.oid),
asked AS (
    SELECT r.on_table = relation AS is_own, r.timing, o AS operation, false AS by_statement, false AS on_replica
    FROM automate.rule AS r, unnest(r.operations) AS o
    WHERE r.on_table::oid IN (SELECT a.oid FROM above AS a)
    UNION ALL
    SELECT t.on_table = relation, 'after', o, o = 'truncate' OR coalesce(t.options ->> 'level', '') = 'statement',
           coalesce(t.options ->> 'fire_on_replica', '') = 'true'
    FROM automate.trigger AS t, unnest(t.operations) AS o
    WHERE t.on_table::oid IN (SELECT a.oid FROM above AS a)),
bit AS (
    SELECT o.operation, o.bit FROM (VALUES ('insert', 4), ('delete', 8), ('update', 16), ('truncate', 32)) AS o(operation, bit)),
-- What the INSTEAD OF triggers of a view's owner do; without one of those, ours would swallow the write.
handled AS (
    SELECT coalesce(bit_or(t.tgtype::integer), 0) AS bits
    FROM pg_trigger AS t WHERE t.tgrelid = relation AND t.tgtype & 64 <> 0 AND t.tgfoid <> 'automate.capture()'::regprocedure)
-- The clone of a partitioned table's trigger must find its name free on a partition that is attached.
SELECT CASE WHEN c.relkind = 'p' THEN format('pg_automate_capture_%s', c.oid) ELSE 'pg_automate_capture' END, 29,
       'AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION automate.capture()',
       bool_or(a.on_replica), c.relispartition AND NOT bool_and(a.is_own)
FROM asked AS a, pg_class AS c
WHERE c.oid = relation AND c.relkind IN ('r', 'p', 'f') AND a.timing = 'after' AND NOT a.by_statement
GROUP BY c.oid, c.relkind, c.relispartition
UNION ALL
-- Triggers of one kind run in the order of their names: the rules judge the row that the table's own have made.
SELECT CASE WHEN c.relkind = 'p' THEN format('zz_pg_automate_decide_%s', c.oid) ELSE 'zz_pg_automate_decide' END, 31,
       'BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION automate.capture_before()',
       false, c.relispartition AND NOT bool_and(a.is_own)
FROM asked AS a, pg_class AS c
WHERE c.oid = relation AND c.relkind IN ('r', 'p', 'f') AND a.timing = 'before' AND (a.is_own OR c.relispartition)
GROUP BY c.oid, c.relkind, c.relispartition
UNION ALL
-- Named to be the last: what it is given is what the triggers before it agreed upon.
SELECT '~pg_automate_capture', 65 + sum(DISTINCT b.bit)::integer,
       format('INSTEAD OF %s ON %%s FOR EACH ROW EXECUTE FUNCTION automate.capture()', string_agg(DISTINCT upper(b.operation), ' OR ')),
       false, false
FROM asked AS a JOIN bit AS b USING (operation), handled AS h, pg_class AS c
WHERE c.oid = relation AND c.relkind = 'v' AND a.timing = 'after' AND NOT a.by_statement AND h.bits & b.bit <> 0
HAVING count(*) > 0
UNION ALL
-- PostgreSQL counts the rows of a statement only for a trigger that could read them.
SELECT 'pg_automate_' || b.operation, b.bit,
       format('AFTER %s ON %%s%s FOR EACH STATEMENT EXECUTE FUNCTION automate.capture_statement()', upper(b.operation),
              CASE WHEN c.relkind = 'f' OR b.operation = 'truncate' THEN ''
                   WHEN b.operation = 'delete' THEN ' REFERENCING OLD TABLE AS rows_of_it' ELSE ' REFERENCING NEW TABLE AS rows_of_it' END),
       bool_or(a.on_replica), false
FROM asked AS a JOIN bit AS b USING (operation), pg_class AS c
WHERE c.oid = relation AND c.relkind IN ('r', 'p', 'f') AND a.by_statement
  -- Foreign tables have no triggers on TRUNCATE before PostgreSQL 16.
  AND (c.relkind <> 'f' OR a.operation <> 'truncate' OR current_setting('server_version_num')::integer >= 160000)
GROUP BY b.operation, b.bit, c.relkind
$$;
COMMENT ON FUNCTION automate.wanted_captures(regclass) IS
'For automate.keep_capture: the triggers that a table needs for the rules and data triggers on it and on the tables above it, their type as in pg_trigger.tgtype, the rest of their CREATE TRIGGER, whether they fire on a replica, and whether the partitioned table above gives them.';

CREATE FUNCTION automate.capture_family(relation regclass) RETURNS TABLE (relid regclass, level integer)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
WITH RECURSIVE below AS (
    SELECT c.oid, 0 AS level FROM pg_class AS c WHERE c.oid = relation
    UNION SELECT i.inhrelid, b.level + 1 FROM below AS b JOIN pg_inherits AS i ON i.inhparent = b.oid)
SELECT b.oid::regclass, max(b.level)
FROM below AS b JOIN pg_class AS c ON c.oid = b.oid WHERE c.relpersistence <> 't' GROUP BY b.oid
$$;
COMMENT ON FUNCTION automate.capture_family(regclass) IS
'For automate.keep_capture: a table and those below it, partitions and inheritance children, with their distance. Temporary ones are left out.';

CREATE FUNCTION automate.our_triggers(relation regclass) RETURNS TABLE (name text, bits integer, enabled "char")
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT t.tgname::text, t.tgtype::integer, t.tgenabled FROM pg_trigger AS t
WHERE t.tgrelid = relation AND t.tgparentid = 0
  AND t.tgfoid IN ('automate.capture()'::regprocedure, 'automate.capture_before()'::regprocedure,
                   'automate.capture_statement()'::regprocedure)
$$;
COMMENT ON FUNCTION automate.our_triggers(regclass) IS
'For automate.keep_capture: our triggers that a table has of itself.';

CREATE FUNCTION automate.keep_capture(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part record;
BEGIN
    -- The trigger of a partitioned table is cloned to its partitions, which must not have one of the name then.
    FOR part IN SELECT f.relid, t.name FROM automate.capture_family(relation) AS f, automate.our_triggers(f.relid) AS t
                WHERE NOT EXISTS (SELECT FROM automate.wanted_captures(f.relid) AS w
                                  WHERE w.name = t.name AND w.bits = t.bits AND NOT w.cloned)
                ORDER BY f.level, f.relid, t.name LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', part.name, part.relid);
    END LOOP;
    FOR part IN SELECT f.relid, w.name, w.firing FROM automate.capture_family(relation) AS f, automate.wanted_captures(f.relid) AS w
                WHERE NOT w.cloned AND NOT EXISTS (SELECT FROM automate.our_triggers(f.relid) AS t WHERE t.name = w.name)
                ORDER BY f.level, f.relid, w.name LOOP
        EXECUTE format('CREATE TRIGGER %I ', part.name) || format(part.firing, part.relid);
        -- DROP EXTENSION takes it along without CASCADE.
        EXECUTE format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION pg_automate', part.name, part.relid);
    END LOOP;
    -- One that somebody disabled stays so.
    FOR part IN SELECT f.relid, t.tgname AS name, w.always FROM automate.capture_family(relation) AS f, automate.wanted_captures(f.relid) AS w,
                       pg_trigger AS t
                WHERE t.tgrelid = f.relid AND t.tgtype = w.bits AND t.tgenabled = CASE WHEN w.always THEN 'O' ELSE 'A' END
                  AND t.tgfoid IN ('automate.capture()'::regprocedure, 'automate.capture_before()'::regprocedure,
                   'automate.capture_statement()'::regprocedure)
                ORDER BY f.level, f.relid, t.tgname LOOP
        EXECUTE format('ALTER TABLE ONLY %s ENABLE %s TRIGGER %I', part.relid, CASE WHEN part.always THEN 'ALWAYS' ELSE '' END, part.name);
    END LOOP;
END
$$;
COMMENT ON FUNCTION automate.keep_capture(regclass) IS
'Gives a table and those below it the triggers that rules and data triggers need there, and takes away those that none needs.';

CREATE FUNCTION automate.keep_captures(changed oid[], beside text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM automate.rule WHERE on_table IS NOT NULL)
       AND NOT EXISTS (SELECT FROM automate.trigger WHERE on_table IS NOT NULL) THEN
        RETURN;
    END IF;
    FOR part IN SELECT c.oid FROM pg_class AS c WHERE c.oid = ANY (changed) AND c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' LOOP
        PERFORM automate.keep_capture(part);
    END LOOP;
    FOR part IN SELECT f.relid
                FROM (SELECT t.tgrelid AS relid FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid JOIN pg_trigger AS t ON t.oid = d.objid
                      WHERE d.refclassid = 'pg_extension'::regclass AND e.extname = 'pg_automate' AND d.classid = 'pg_trigger'::regclass
                      UNION SELECT r.on_table FROM automate.rule AS r WHERE beside = 'released'
                      UNION SELECT t.on_table FROM automate.trigger AS t WHERE beside = 'released') AS f
                JOIN pg_class AS c ON c.oid = f.relid
                WHERE (beside = 'released' OR (beside = 'views' AND c.relkind = 'v')) AND EXISTS (
                    SELECT FROM (SELECT w.name, w.bits FROM automate.wanted_captures(f.relid) AS w WHERE NOT w.cloned) AS wanted
                    FULL JOIN automate.our_triggers(f.relid) AS ours ON ours.name = wanted.name AND ours.bits = wanted.bits
                    WHERE ours.name IS NULL OR wanted.name IS NULL) LOOP
        IF beside = 'views' THEN
            PERFORM automate.disown_view(part);
        END IF;
        PERFORM automate.keep_capture(part);
    END LOOP;
END
$$;
COMMENT ON FUNCTION automate.keep_captures(oid[], text) IS
'For automate.follow_tables: keep_capture for tables that a command changed; beside them, released: for those that are below another table no more; views: for views that lost a trigger.';

CREATE FUNCTION automate.disown_view(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    handled integer := (SELECT coalesce(bit_or(t.tgtype::integer), 0) FROM pg_trigger AS t
                        WHERE t.tgrelid = relation AND t.tgtype & 64 <> 0 AND t.tgfoid <> 'automate.capture()'::regprocedure);
    lost text[] := ARRAY(SELECT o.operation FROM (VALUES ('insert', 4), ('delete', 8), ('update', 16)) AS o(operation, bit)
                         WHERE handled & o.bit = 0);
    reason text := format('its INSTEAD OF trigger for %s was dropped', array_to_string(lost, ', '));
BEGIN
    UPDATE automate.rule SET status = 'broken', last_error = reason, last_error_at = now(), updated_at = now()
    WHERE on_table = relation AND status = 'active' AND operations && lost;
    UPDATE automate.trigger SET status = 'broken', last_error = reason, last_error_at = now(), updated_at = now()
    WHERE on_table = relation AND status = 'active' AND operations && lost;
END
$$;
COMMENT ON FUNCTION automate.disown_view(regclass) IS
'For automate.follow_tables: says of rules and data triggers on a view that nothing does their writes any more.';

CREATE FUNCTION automate.follow_tables() RETURNS event_trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_follow_tables';
COMMENT ON FUNCTION automate.follow_tables() IS
'After commands that make tables, or change what is below what: lets our triggers follow. It never fails the command.';
