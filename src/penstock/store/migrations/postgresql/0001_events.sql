-- Events, what is said about their streams, and the way in for any transaction: penstock_append().

CREATE SEQUENCE penstock_positions AS bigint START 1 MINVALUE 1 INCREMENT 1 CACHE 1 NO CYCLE;

CREATE TABLE penstock_events (
  position bigint PRIMARY KEY,
  stream text COLLATE "C" NOT NULL,
  category text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  id text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  key text COLLATE "C",
  schema_version integer NOT NULL,
  data json,    -- a JSON body as it was written, to the byte
  body bytea,   -- any other body
  meta jsonb NOT NULL,
  recorded_at timestamptz NOT NULL,
  CONSTRAINT penstock_events_id UNIQUE (id),
  CONSTRAINT penstock_events_version UNIQUE (stream, version)
);

CREATE INDEX penstock_events_category ON penstock_events (category, position);

ALTER SEQUENCE penstock_positions OWNED BY penstock_events.position;

-- Streams of which there is more to say than their events do.
CREATE TABLE penstock_streams (
  name text COLLATE "C" PRIMARY KEY,
  version bigint NOT NULL DEFAULT 0,   -- the last version that was deleted; new events go on from there
  deleted boolean NOT NULL DEFAULT false,
  owner text,
  max_count bigint,
  max_age_us bigint,
  extra jsonb NOT NULL DEFAULT '{}'
);

-- Three functions add events in the transaction of the caller. penstock_append_one() takes one event, penstock_append()
-- any number; both expect that all will go well, and leave what does not to penstock_append_carefully().
--
--   requests  JSON: [{"e": expected, "o": owner}, ...]; expected is a version, -1 for any, -2 for a stream that exists
--   streams   JSON: [{"s": stream, "e": expected, "o": owner}, ...], each stream once. Requests for one stream all expect
--             "any", or there is one.
--   r x u s i n k v m d t b   the events, column by column, each a JSON array; a column with nothing in it is NULL:
--             request (from 0), stream (from 1), number among those of the stream (from 1), stream, id, name, key, schema
--             version, meta, JSON body, JSON body as text (what would not keep its bytes as "d"), other body in Base64.
--             Each id stands there once.
--
--   positions and versions  of the events in their order, as {1,2,...} or 1; 0 for those of a refused request
--   known     JSON: [[event from 1, stream, version, position], ...] of those that were there already
--   refused   JSON: [[request, reason, stream, version, owner], ...]; nothing of such a request was added
--
-- Columns are taken apart at half the cost of rows, and JSON, other than an array of the driver's, is the same for each.
-- Nothing is raised for a refusal, so that the caller's transaction lives. The order of what happens is the promise: the
-- floor is locked, then the streams' versions are read, then positions are drawn in the order of the events. See
-- docs/explanation/order-without-gaps.md.
DO $migration$
DECLARE
  number bigint;
  hold_floor text;
  parameters text;
  events text;
  placed text;
  template text;
BEGIN
  -- Each store of a database has a number of its own, so that their locks do not mix.
  PERFORM pg_advisory_xact_lock(7307218417042063360);
  SELECT coalesce(max(substring(prosrc FROM '[0-9]+')::bigint), 0) + 1 INTO number
    FROM pg_catalog.pg_proc WHERE proname = 'penstock_store_number';

  hold_floor := $floor$
  IF coalesce(current_setting('penstock.floor.s@number@', true), '') = '' THEN
    -- pg_sequence_last_value and nothing else: last_value of the relation shows what was logged, up to 32 ahead.
    floor := coalesce(pg_sequence_last_value('@schema@.penstock_positions'::regclass), 0);
    PERFORM pg_advisory_xact_lock_shared((@number@::bigint << 48) | floor),
            set_config('penstock.floor.s@number@', floor::text, true);
  END IF;
  IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;$floor$;

  parameters := $parameters$
  r_ text, x_ text, u_ text, s_ text, i_ text, n_ text, k_ text, v_ text, m_ text, d_ text, t_ text, b_ text$parameters$;
  events := $events$ROWS FROM (
          json_array_elements_text(r_::json), json_array_elements_text(x_::json), json_array_elements_text(u_::json),
          json_array_elements_text(s_::json), json_array_elements_text(i_::json), json_array_elements_text(n_::json),
          json_array_elements_text(k_::json), json_array_elements_text(v_::json), json_array_elements(m_::json),
          json_array_elements(d_::json), json_array_elements_text(t_::json), json_array_elements_text(b_::json)
        ) WITH ORDINALITY AS given(r, x, u, s, i, n, k, v, m, d, t, b, ordinal)$events$;
  -- Without the requests: every column is taken apart, also one that nobody looks at.
  placed := replace(replace(events, 'json_array_elements_text(r_::json), ', ''), 'given(r, ', 'given(');

  FOREACH template IN ARRAY ARRAY[$function$
CREATE FUNCTION @schema@.penstock_append_carefully(
  requests text,@parameters@,
  OUT positions text, OUT versions text, OUT known text, OUT refused text
)
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $body$
DECLARE
  wanted bigint;
  added bigint;
  drawn bigint[];
BEGIN
  LOOP
    -- In READ COMMITTED each turn has a snapshot of its own, and sees what the last one collided with. Lookups are
    -- subqueries with a parameter, which use their index whatever the planner thinks of the table's size.
    WITH request AS MATERIALIZED (
      SELECT asked.number - 1 AS r, asked.e AS expected, asked.o AS owner
        FROM ROWS FROM (json_to_recordset(requests::json) AS (e bigint, o text)) WITH ORDINALITY AS asked(e, o, number)
    ), event AS MATERIALIZED (
      SELECT r::int AS r, s, i, n, k, v::int AS v, m::jsonb AS m,
             CASE WHEN d::text <> 'null' THEN d ELSE t::json END AS d, decode(b, 'base64') AS b, ordinal,
             (SELECT there.position FROM @schema@.penstock_events there WHERE there.id = given.i) AS known_at
        FROM @events@
    ), stream AS MATERIALIZED (
      SELECT named.s, coalesce(greatest(
               (SELECT max(there.version) FROM @schema@.penstock_events there WHERE there.stream = named.s),
               (SELECT said.version FROM @schema@.penstock_streams said WHERE said.name = named.s)), 0) AS head,
             (SELECT said.owner FROM @schema@.penstock_streams said WHERE said.name = named.s) AS owner,
             (SELECT said.deleted FROM @schema@.penstock_streams said WHERE said.name = named.s) AS deleted
        FROM (SELECT DISTINCT s FROM event WHERE known_at IS NULL) AS named
    ), refusal AS MATERIALIZED (
      SELECT DISTINCT ON (event.r) event.r, event.s, stream.head, stream.owner,
             CASE WHEN stream.deleted THEN 'deleted' WHEN stream.owner <> coalesce(request.owner, '') THEN 'protected'
                  ELSE 'version' END AS reason
        FROM event JOIN stream ON stream.s = event.s JOIN request ON request.r = event.r
       WHERE event.known_at IS NULL
         AND (stream.deleted OR stream.owner <> coalesce(request.owner, '')
              OR (request.expected >= 0 AND request.expected <> stream.head)
              OR (request.expected = -2 AND stream.head = 0))
       ORDER BY event.r, event.ordinal
    ), fresh AS (
      SELECT event.*, stream.head + row_number() OVER (PARTITION BY event.s ORDER BY event.ordinal) AS version
        FROM event JOIN stream ON stream.s = event.s
       WHERE event.known_at IS NULL AND NOT EXISTS (SELECT FROM refusal WHERE refusal.r = event.r)
       ORDER BY event.ordinal
    ), place AS MATERIALIZED (
      SELECT nextval('@schema@.penstock_positions') AS position, fresh.* FROM fresh
    ), inserted AS (
      INSERT INTO @schema@.penstock_events
             (position, stream, category, version, id, name, key, schema_version, data, body, meta, recorded_at)
      SELECT position, s, split_part(s, '-', 1), version, i, n, k, v, d, b, m, clock_timestamp()
        FROM place
      ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT (SELECT count(*) FROM place), (SELECT count(*) FROM inserted), (SELECT array_agg(position) FROM place),
           array_agg(coalesce(place.position, event.known_at, 0) ORDER BY event.ordinal)::text,
           array_agg(coalesce(place.version, 0) ORDER BY event.ordinal)::text,
           (SELECT json_agg(json_build_array(event.ordinal, there.stream, there.version, there.position))::text
              FROM event JOIN @schema@.penstock_events there ON there.position = event.known_at),
           (SELECT json_agg(json_build_array(r, reason, s, head, owner))::text FROM refusal)
      INTO wanted, added, drawn, positions, versions, known, refused
      FROM event LEFT JOIN place ON place.ordinal = event.ordinal;
    EXIT WHEN added = wanted;
    -- Another transaction took a version or an id first. All or nothing: what went in goes out, and we look again.
    DELETE FROM @schema@.penstock_events WHERE position = ANY (drawn);
  END LOOP;
END
$body$
$function$, $function$
CREATE FUNCTION @schema@.penstock_append(
  requests text, streams text,@parameters@,
  OUT positions text, OUT versions text, OUT known text, OUT refused text
)
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $body$
DECLARE
  floor bigint;
  heads bigint[];
BEGIN@floor@
  SELECT array_agg(head ORDER BY number) INTO heads FROM (
    SELECT given.number, given.e,
           coalesce((SELECT max(version) FROM @schema@.penstock_events there WHERE there.stream = given.s), 0) AS head
      FROM ROWS FROM (json_to_recordset(streams::json) AS (s text, e bigint, o text))
           WITH ORDINALITY AS given(s, e, o, number)
     WHERE NOT EXISTS (
       SELECT FROM @schema@.penstock_streams said
        WHERE said.name = given.s AND (said.deleted OR said.version > 0 OR said.owner <> coalesce(given.o, '')))
  ) AS stream
  WHERE e = -1 OR e = head OR (e = -2 AND head > 0);

  IF cardinality(heads) = json_array_length(streams::json) THEN
    -- Without ON CONFLICT, which looks into each index before it writes to it. All or nothing: a block goes as a whole.
    BEGIN
      WITH inserted AS (
        INSERT INTO @schema@.penstock_events
               (position, stream, category, version, id, name, key, schema_version, data, body, meta, recorded_at)
        SELECT nextval('@schema@.penstock_positions'), s, split_part(s, '-', 1), heads[x::int] + u::bigint, i, n, k,
               v::int, CASE WHEN d::text <> 'null' THEN d ELSE t::json END, decode(b, 'base64'), m::jsonb,
               clock_timestamp()
          FROM @placed@
        RETURNING position, version
      )
      SELECT array_agg(position)::text, array_agg(version)::text INTO positions, versions FROM inserted;
      RETURN;
    EXCEPTION WHEN unique_violation THEN
      NULL;
    END;
  END IF;
  SELECT * INTO positions, versions, known, refused FROM @schema@.penstock_append_carefully(
    requests, r_, x_, u_, s_, i_, n_, k_, v_, m_, d_, t_, b_);
END
$body$
$function$, $function$
CREATE FUNCTION @schema@.penstock_append_one(
  stream_ text, id_ text, name_ text, key_ text, schema_version_ integer, data_ text, body_ text, meta_ text,
  expected bigint, owner_ text, OUT positions text, OUT versions text, OUT known text, OUT refused text
)
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $body$
DECLARE
  floor bigint;
BEGIN@floor@
  INSERT INTO @schema@.penstock_events
         (position, stream, category, version, id, name, key, schema_version, data, body, meta, recorded_at)
  SELECT nextval('@schema@.penstock_positions'), stream_, split_part(stream_, '-', 1), head + 1, id_, name_, key_,
         schema_version_, data_::json, decode(body_, 'base64'), meta_::jsonb, clock_timestamp()
    FROM (
      SELECT coalesce((SELECT max(version) FROM @schema@.penstock_events there WHERE there.stream = stream_), 0) AS head
    ) AS last
   WHERE (expected = -1 OR expected = head OR (expected = -2 AND head > 0))
     AND NOT EXISTS (SELECT FROM @schema@.penstock_streams said WHERE said.name = stream_)
  ON CONFLICT DO NOTHING RETURNING position, version INTO positions, versions;
  IF positions IS NULL THEN
    SELECT * INTO positions, versions, known, refused FROM @schema@.penstock_append_carefully(
      json_build_array(json_build_object('e', expected, 'o', owner_))::text, '[0]', NULL, NULL,
      json_build_array(stream_)::text, json_build_array(id_)::text, json_build_array(name_)::text,
      json_build_array(key_)::text, json_build_array(schema_version_)::text, json_build_array(meta_::json)::text, NULL,
      json_build_array(data_)::text, json_build_array(body_)::text);
  END IF;
END
$body$
$function$]
  LOOP
    template := replace(replace(replace(replace(
      template, '@floor@', hold_floor), '@parameters@', parameters), '@events@', events), '@placed@', placed);
    EXECUTE replace(replace(template, '@schema@', quote_ident(current_schema())), '@number@', number::text);
  END LOOP;

  EXECUTE format(
    'CREATE FUNCTION %I.penstock_store_number() RETURNS bigint LANGUAGE sql IMMUTABLE AS %L',
    current_schema(), 'SELECT ' || number || '::bigint'
  );
END
$migration$;
