-- Workflows in other forms: YAML in and out, and SQL out.

CREATE FUNCTION automate.create_workflow_yaml(name text, yaml text, description text DEFAULT NULL) RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_create_workflow_yaml';
COMMENT ON FUNCTION automate.create_workflow_yaml(text, text, text) IS
'automate.create_workflow with the definition as YAML 1.2. Errors tell line and column; a key that stands twice, tags and what JSON does not have are refused.';

CREATE FUNCTION automate.workflow_yaml(name text, version integer DEFAULT NULL) RETURNS text
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_workflow_yaml';
COMMENT ON FUNCTION automate.workflow_yaml(text, integer) IS
'The definition of a workflow as YAML, for automate.create_workflow_yaml; without version the current one.';

CREATE FUNCTION automate.workflow_sql(name text, version integer DEFAULT NULL) RETURNS text
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_workflow_sql';
COMMENT ON FUNCTION automate.workflow_sql(text, integer) IS
'SQL that creates a version of a workflow again, with its search_path, description and trigger; without version the current one. The same version gives the same text. It sets search_path for the session.';
