-- What the automation did, beside what plain SQL over the loaded flights says it should have done.
-- Received mails and webhooks come in as the temporary tables received_mail and received_hook.
WITH late AS (SELECT * FROM flights WHERE dep_delay >= 120),
     gone AS (SELECT * FROM flights WHERE dep_time IS NULL),
     arrived AS (SELECT * FROM flights WHERE arr_delay > 360),
     next_flight AS (
        SELECT t.flight_id, array(
            SELECT o.flight_id FROM timetable AS o
            WHERE o.dest = t.dest AND o.departs > t.departs AND o.departs < t.departs + interval '1 day'
            ORDER BY o.departs, o.flight_id LIMIT 3) AS flights
        FROM timetable AS t WHERE t.flight_id IN (SELECT id FROM late UNION ALL SELECT id FROM gone)),
     rollup AS (
        SELECT carrier, count(*) AS flights, count(*) FILTER (WHERE dep_time IS NULL) AS cancelled,
               count(*) FILTER (WHERE dep_delay >= 120) AS late, coalesce(round(avg(dep_delay), 2), 0) AS mean_delay
        FROM flights GROUP BY carrier),
     run AS (SELECT workflow, status, input ->> 'id' AS id FROM automate.run)
SELECT what, did, should FROM (VALUES
    (1, 'late departures: workflow runs started',
        (SELECT count(*) FROM run WHERE workflow = 'delay-care'), (SELECT count(*) FROM late)),
    (2, 'late departures: workflow runs completed',
        (SELECT count(*) FROM run WHERE workflow = 'delay-care' AND status = 'completed'), (SELECT count(*) FROM late)),
    (3, 'cancelled flights: workflow runs started',
        (SELECT count(*) FROM run WHERE workflow = 'rebook'), (SELECT count(*) FROM gone)),
    (4, 'cancelled flights: workflow runs completed',
        (SELECT count(*) FROM run WHERE workflow = 'rebook' AND status = 'completed'), (SELECT count(*) FROM gone)),
    (5, 'passengers cared for, with the right next flights',
        (SELECT count(*) FROM care AS c JOIN next_flight AS n USING (flight_id) WHERE c.alternatives = n.flights),
        (SELECT count(*) FROM late)),
    (6, 'rows about late flights (none twice, none lost)',
        (SELECT count(*) FROM care), (SELECT count(*) FROM late)),
    (7, 'hotels booked (delay of 5 hours or more)',
        (SELECT count(*) FROM care WHERE measure = 'hotel'), (SELECT count(*) FROM late WHERE dep_delay >= 300)),
    (8, 'cancelled flights rebooked onto the right flight',
        (SELECT count(*) FROM rebooking AS r JOIN next_flight AS n USING (flight_id)
         WHERE r.outcome = 'moved' AND r.onto = n.flights[1]),
        (SELECT count(*) FROM gone JOIN next_flight AS n ON n.flight_id = gone.id WHERE n.flights <> '{}')),
    (9, 'cancelled flights rebooked or refunded',
        (SELECT count(*) FROM rebooking), (SELECT count(*) FROM gone)),
    (10, 'arrivals over 6 hours late: events noted',
        (SELECT count(*) FROM very_late JOIN arrived ON arrived.id = flight_id AND arrived.arr_delay = very_late.arr_delay),
        (SELECT count(*) FROM arrived)),
    (11, 'notifications sent',
        (SELECT count(*) FROM automate.delivery WHERE state = 'sent' AND template = 'late'),
        (SELECT count(*) + count(*) FILTER (WHERE dep_delay >= 300) FROM late)),
    (12, 'mails received about flights 5 hours late',
        (SELECT count(DISTINCT message_id) FROM received_mail WHERE subject LIKE 'Flight % is late'),
        (SELECT count(*) FROM late WHERE dep_delay >= 300)),
    (13, 'webhook calls received about late flights',
        (SELECT count(DISTINCT key) FROM received_hook WHERE path LIKE '/desk%'), (SELECT count(*) FROM late)),
    (14, 'webhook calls received about cancelled flights',
        (SELECT count(DISTINCT flight_id) FROM received_hook WHERE path = '/rebook'), (SELECT count(*) FROM gone)),
    (15, 'carriers in the rollup, all figures right',
        (SELECT count(*) FROM carrier_delay NATURAL JOIN rollup), (SELECT count(*) FROM rollup)),
    (16, 'rows in the report', :report_rows::bigint, (SELECT count(*) FROM rollup)),
    (17, 'report mails received, with the table attached',
        (SELECT count(DISTINCT message_id) FROM received_mail WHERE attachments @> '{csv}'), 1)
) AS result (number, what, did, should) ORDER BY number
