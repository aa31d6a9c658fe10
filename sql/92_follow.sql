-- Partitions and children that come later: last of all, so that our own tables do not come by here.

CREATE EVENT TRIGGER pg_automate_follow ON ddl_command_end
WHEN TAG IN ('CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA', 'ALTER TABLE', 'ALTER FOREIGN TABLE', 'DROP TRIGGER')
EXECUTE FUNCTION automate.follow_tables();
COMMENT ON EVENT TRIGGER pg_automate_follow IS
'Gives partitions and inheritance children that are made or attached the triggers that rules and data triggers above them need, and takes them away again; takes ours off a view whose INSTEAD OF trigger was dropped.';
