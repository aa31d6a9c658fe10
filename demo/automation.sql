-- All of the demo's automation, in public calls. psql fills in the two ports.

-- Where messages go.
SELECT automate.create_channel('mail', 'smtp', jsonb_build_object(
    'host', '127.0.0.1', 'port', :smtp_port, 'tls', 'none', 'from', 'Automation <automation@airline.test>'));
SELECT automate.create_channel('desk', 'webhook', jsonb_build_object(
    'url', 'http://127.0.0.1:' || :http_port || '/desk'));

-- What they say.
SELECT automate.create_template('late', 'Flight {{ flight }} is late',
    'Flight {{ flight }} to {{ dest }} leaves {{ delay }} minutes late. Measure: {{ measure }}.');

SELECT automate.create_template('daily', '{{ title }}', '{{ text }}');

-- A late flight: find the next ones, decide, write it down, tell the desk; a mail only if it is bad.
SELECT automate.create_workflow('delay-care', $${
  "do": [
    {"next": {"call": "sql", "with": {
      "query": "SELECT coalesce(array_agg(n.flight_id ORDER BY n.departs, n.flight_id), '{}') AS flights FROM (SELECT o.flight_id, o.departs FROM timetable AS t JOIN timetable AS o ON o.dest = t.dest AND o.departs > t.departs AND o.departs < t.departs + interval '1 day' WHERE t.flight_id = $1 ORDER BY o.departs, o.flight_id LIMIT 3) AS n",
      "params": ["${ .id }"], "result": "one"}}},
    {"decide": {"switch": [
      {"bad": {"when": "$workflow.input.delay >= 300", "then": "hotel"}},
      {"usual": {"then": "meal"}}]}},
    {"hotel": {"call": "sql", "with": {
      "query": "INSERT INTO care (flight_id, measure, alternatives) VALUES ($1, 'hotel', ARRAY(SELECT jsonb_array_elements_text($2)::bigint))",
      "params": ["${ $workflow.input.id }", "${ .flights }"]}}},
    {"mail": {"call": "notify", "with": {
      "template": "late", "recipients": ["mail:operations@airline.test"],
      "data": {"id": "${ $workflow.input.id }", "flight": "${ $workflow.input.flight }", "dest": "${ $workflow.input.dest }",
               "delay": "${ $workflow.input.delay }", "measure": "hotel"}},
      "then": "desk"}},
    {"meal": {"call": "sql", "with": {
      "query": "INSERT INTO care (flight_id, measure, alternatives) VALUES ($1, 'meal', ARRAY(SELECT jsonb_array_elements_text($2)::bigint))",
      "params": ["${ $workflow.input.id }", "${ .flights }"]}}},
    {"desk": {"call": "notify", "with": {
      "template": "late", "recipients": ["desk:late"],
      "data": {"id": "${ $workflow.input.id }", "flight": "${ $workflow.input.flight }", "dest": "${ $workflow.input.dest }",
               "delay": "${ $workflow.input.delay }", "measure": "care"}}}}
  ]}$$, 'Care for the passengers of a late flight');

-- A cancelled flight: put its passengers on the next one to the same place, or refund them.
SELECT automate.create_workflow('rebook', replace($${
  "do": [
    {"next": {"call": "sql", "with": {
      "query": "SELECT (SELECT o.flight_id FROM timetable AS o WHERE o.dest = t.dest AND o.departs > t.departs AND o.departs < t.departs + interval '1 day' ORDER BY o.departs, o.flight_id LIMIT 1) AS onto FROM timetable AS t WHERE t.flight_id = $1",
      "params": ["${ .id }"], "result": "one"}}},
    {"decide": {"switch": [
      {"found": {"when": ".onto != null", "then": "move"}},
      {"none": {"then": "refund"}}]}},
    {"move": {"call": "sql", "with": {
      "query": "INSERT INTO rebooking (flight_id, onto, outcome) VALUES ($1, $2, 'moved')",
      "params": ["${ $workflow.input.id }", "${ .onto }"]}, "then": "tell"}},
    {"refund": {"call": "sql", "with": {
      "query": "INSERT INTO rebooking (flight_id, outcome) VALUES ($1, 'refunded')",
      "params": ["${ $workflow.input.id }"]}}},
    {"tell": {"call": "http", "with": {
      "method": "post", "endpoint": "http://127.0.0.1:HTTP_PORT/rebook",
      "body": {"id": "${ $workflow.input.id }"}}}}
  ]}$$, 'HTTP_PORT', :'http_port')::jsonb, 'Put the passengers of a cancelled flight on another');

-- When to act. Conditions are SQL over NEW, compiled once.
SELECT automate.create_rule('late-departure', on_table => 'flights', operations => '{insert}',
    condition => 'NEW.dep_delay >= 120',
    actions => '[{"workflow": "delay-care", "input": {"id": "${ .new.id }", "dest": "${ .new.dest }",
        "delay": "${ .new.dep_delay }", "flight": "${ .new.carrier + (.new.flight | tostring) }"}}]');
SELECT automate.create_rule('cancelled', on_table => 'flights', operations => '{insert}',
    condition => 'NEW.dep_time IS NULL',
    actions => '[{"workflow": "rebook", "input": {"id": "${ .new.id }"}}]');
SELECT automate.create_rule('very-late-arrival', on_table => 'flights', operations => '{insert}',
    condition => 'NEW.arr_delay > 360',
    actions => '[{"emit": "flight.very-late", "payload": {"id": "${ .new.id }", "arr_delay": "${ .new.arr_delay }"}}]');
-- Events have rules, too.
SELECT automate.create_rule('note-very-late', on_event => 'flight.very-late',
    actions => '[{"sql": "INSERT INTO very_late (flight_id, arr_delay) VALUES ($1, $2)",
        "params": ["${ .event.payload.id }", "${ .event.payload.arr_delay }"]}]');

-- Every minute: delays by carrier.
SELECT automate.schedule_task('rollup', 'sql', '* * * * *', $$
    INSERT INTO carrier_delay
    SELECT carrier, count(*), count(*) FILTER (WHERE dep_time IS NULL),
           count(*) FILTER (WHERE dep_delay >= 120), coalesce(round(avg(dep_delay), 2), 0)
    FROM flights GROUP BY carrier
    ON CONFLICT (carrier) DO UPDATE SET flights = excluded.flights, cancelled = excluded.cancelled,
        late = excluded.late, mean_delay = excluded.mean_delay$$);

-- Every morning: the operations report, as a mail with attachments.
SELECT automate.create_report('operations', $${
  "title": "Operations: delays by carrier",
  "datasets": {"carriers": {"sql": "SELECT a.name AS airline, d.flights, d.cancelled, d.late, d.mean_delay FROM carrier_delay AS d JOIN airlines AS a USING (carrier) ORDER BY d.late DESC, a.name"}},
  "layout": [
    {"chart": {"type": "bar", "data": "carriers", "x": "airline", "y": ["late"], "title": "Departures two hours late or more"}},
    {"table": {"data": "carriers"}}],
  "formats": ["text", "html", "csv"]}$$);
SELECT automate.schedule_task('daily-report', 'report', '0 6 * * *', 'operations',
    args => '{"template": "daily", "recipients": ["mail:operations@airline.test"], "formats": ["html", "csv"]}',
    time_zone => 'America/New_York');
