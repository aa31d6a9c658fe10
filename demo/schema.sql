-- The airline's own tables. Nothing here knows of pg_automate.
CREATE TABLE airlines (carrier text PRIMARY KEY, name text NOT NULL);
CREATE TABLE airports (
    faa text PRIMARY KEY, name text NOT NULL, lat float8, lon float8, alt int, tz int, dst text, tzone text);
CREATE TABLE planes (
    tailnum text PRIMARY KEY, year int, type text, manufacturer text, model text,
    engines int, seats int, speed int, engine text);
CREATE TABLE weather (
    origin text, year int, month int, day int, hour int, temp float8, dewp float8, humid float8,
    wind_dir int, wind_speed float8, wind_gust float8, precip float8, pressure float8, visib float8,
    time_hour timestamptz);

-- What is planned, known in advance.
CREATE TABLE timetable (
    flight_id bigint PRIMARY KEY, carrier text NOT NULL, flight int NOT NULL,
    origin text NOT NULL, dest text NOT NULL, departs timestamptz NOT NULL);
CREATE INDEX timetable_next ON timetable (dest, departs, flight_id);

-- What happened: times are hhmm, delays minutes; no departure time means cancelled.
CREATE TABLE flights (
    id bigint PRIMARY KEY, year int, month int, day int, dep_time int, sched_dep_time int,
    dep_delay int, arr_time int, sched_arr_time int, arr_delay int, carrier text, flight int,
    tailnum text, origin text, dest text, air_time int, distance int, hour int, minute int,
    time_hour timestamptz);

-- What the automation writes. No key stops a second row: the demo counts them.
CREATE TABLE care (
    flight_id bigint NOT NULL, measure text NOT NULL, alternatives bigint[] NOT NULL,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE rebooking (
    flight_id bigint NOT NULL, onto bigint, outcome text NOT NULL,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE very_late (flight_id bigint NOT NULL, arr_delay int NOT NULL);
CREATE TABLE carrier_delay (
    carrier text PRIMARY KEY, flights bigint NOT NULL, cancelled bigint NOT NULL,
    late bigint NOT NULL, mean_delay numeric NOT NULL);
