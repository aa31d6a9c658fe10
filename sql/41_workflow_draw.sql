-- Pictures of workflows and runs.

CREATE FUNCTION automate.draw_workflow(form text, name text, version integer, run uuid, definition jsonb, direction text)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_draw_workflow';
COMMENT ON FUNCTION automate.draw_workflow(text, text, integer, uuid, jsonb, text) IS
'For automate.workflow_text, workflow_mermaid, workflow_svg and workflow_html: a picture in one of these forms (text, mermaid, svg, html) of what is not NULL.';

CREATE FUNCTION automate.workflow_text(name text, version integer DEFAULT NULL) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.draw_workflow('text', $1, $2, NULL, NULL, NULL) $$;
COMMENT ON FUNCTION automate.workflow_text(text, integer) IS
'A workflow as a tree for psql: a workflow that the caller may use, by its name; without version the current one. A name that no workflow has may be the id of a run.';

CREATE FUNCTION automate.workflow_text(run uuid) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.draw_workflow('text', NULL, NULL, $1, NULL, NULL) $$;
COMMENT ON FUNCTION automate.workflow_text(uuid) IS
'A workflow as a tree for psql: of the version of a run, with the status of each step, its turns, attempts and times. For runs that the caller may see in automate.run.';

CREATE FUNCTION automate.workflow_text(definition jsonb) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.draw_workflow('text', NULL, NULL, NULL, $1, NULL) $$;
COMMENT ON FUNCTION automate.workflow_text(jsonb) IS
'A workflow as a tree for psql: of a definition, which need not be valid.';

CREATE FUNCTION automate.workflow_mermaid(name text, version integer DEFAULT NULL, direction text DEFAULT 'TB') RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.draw_workflow('mermaid', $1, $2, NULL, NULL, $3) $$;
COMMENT ON FUNCTION automate.workflow_mermaid(text, integer, text) IS
'A workflow as a Mermaid flowchart: a workflow that the caller may use, by its name; without version the current one. A name that no workflow has may be the id of a run. direction is TB (from above) or LR (from the left).';

CREATE FUNCTION automate.workflow_mermaid(run uuid, direction text DEFAULT 'TB') RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.draw_workflow('mermaid', NULL, NULL, $1, NULL, $2) $$;
COMMENT ON FUNCTION automate.workflow_mermaid(uuid, text) IS
'A workflow as a Mermaid flowchart: of the version of a run, with the status of each step, its turns, attempts and times. For runs that the caller may see in automate.run. direction is TB (from above) or LR (from the left).';

CREATE FUNCTION automate.workflow_mermaid(definition jsonb, direction text DEFAULT 'TB') RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.draw_workflow('mermaid', NULL, NULL, NULL, $1, $2) $$;
COMMENT ON FUNCTION automate.workflow_mermaid(jsonb, text) IS
'A workflow as a Mermaid flowchart: of a definition, which need not be valid. direction is TB (from above) or LR (from the left).';

CREATE FUNCTION automate.workflow_svg(name text, version integer DEFAULT NULL) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.draw_workflow('svg', $1, $2, NULL, NULL, NULL) $$;
COMMENT ON FUNCTION automate.workflow_svg(text, integer) IS
'A workflow as an SVG picture that follows the light or dark of its reader: a workflow that the caller may use, by its name; without version the current one. A name that no workflow has may be the id of a run.';

CREATE FUNCTION automate.workflow_svg(run uuid) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.draw_workflow('svg', NULL, NULL, $1, NULL, NULL) $$;
COMMENT ON FUNCTION automate.workflow_svg(uuid) IS
'A workflow as an SVG picture that follows the light or dark of its reader: of the version of a run, with the status of each step, its turns, attempts and times. For runs that the caller may see in automate.run.';

CREATE FUNCTION automate.workflow_svg(definition jsonb) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.draw_workflow('svg', NULL, NULL, NULL, $1, NULL) $$;
COMMENT ON FUNCTION automate.workflow_svg(jsonb) IS
'A workflow as an SVG picture that follows the light or dark of its reader: of a definition, which need not be valid.';

CREATE FUNCTION automate.workflow_html(name text, version integer DEFAULT NULL) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.draw_workflow('html', $1, $2, NULL, NULL, NULL) $$;
COMMENT ON FUNCTION automate.workflow_html(text, integer) IS
'A workflow as one HTML page that loads nothing from elsewhere: picture, table, definition: a workflow that the caller may use, by its name; without version the current one. A name that no workflow has may be the id of a run.';

CREATE FUNCTION automate.workflow_html(run uuid) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.draw_workflow('html', NULL, NULL, $1, NULL, NULL) $$;
COMMENT ON FUNCTION automate.workflow_html(uuid) IS
'A workflow as one HTML page that loads nothing from elsewhere: picture, table, definition: of the version of a run, with the status of each step, its turns, attempts and times. For runs that the caller may see in automate.run.';

CREATE FUNCTION automate.workflow_html(definition jsonb) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.draw_workflow('html', NULL, NULL, NULL, $1, NULL) $$;
COMMENT ON FUNCTION automate.workflow_html(jsonb) IS
'A workflow as one HTML page that loads nothing from elsewhere: picture, table, definition: of a definition, which need not be valid.';

CREATE FUNCTION automate.run_timeline_json(run uuid, width integer) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_run_timeline';
COMMENT ON FUNCTION automate.run_timeline_json(uuid, integer) IS
'What automate.run_timeline answers, as a JSON array.';

CREATE FUNCTION automate.run_timeline(run uuid, width integer DEFAULT 60)
RETURNS TABLE (step text, name text, attempt integer, status text, started_at timestamptz, duration interval, bar text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.step, t.name, t.attempt, t.status,
           timestamptz 'epoch' + t.started_us * interval '1 microsecond', t.took_us * interval '1 microsecond', t.bar
    FROM pg_catalog.jsonb_to_recordset(automate.run_timeline_json($1, $2))
         AS t(step text, name text, attempt integer, status text, started_us bigint, took_us bigint, bar text)
$$;
COMMENT ON FUNCTION automate.run_timeline(uuid, integer) IS
'When the steps of a run were done: a row an attempt, in the order of their starts, the first 1000. bar has width columns (10 to 200) from the first start to the last end, or now: full for completed, half for faulted, light for what goes on, dots for the rest. For runs that the caller may see in automate.run.';

CREATE FUNCTION automate.run_timeline_svg(run uuid) RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_run_timeline_svg';
COMMENT ON FUNCTION automate.run_timeline_svg(uuid) IS
'The same as an SVG picture that follows the light or dark of its reader.';
