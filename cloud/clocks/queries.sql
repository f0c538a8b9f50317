-- Repairing the times of weighings. Whoever changes both weighings and clock_hours changes weighings first.

-- name: due
-- Those that wait longest first.
SELECT gateway_id, journal FROM clock_hours WHERE version <> repaired
 GROUP BY gateway_id, journal ORDER BY min(due_since) LIMIT %(limit)s

-- name: put_off
UPDATE clock_hours SET due_since = now() WHERE gateway_id = %(gateway)s AND journal = %(journal)s AND version <> repaired

-- name: hours
-- From the first hour that is not known as well as it ever will be, and a little before it.
WITH todo AS (
    SELECT epoch = journal AS own, epoch, boot, hour FROM clock_hours
     WHERE gateway_id = %(gateway)s AND journal = %(journal)s
       AND (version <> repaired OR low_ms IS NULL OR NOT trusted OR high_ms - low_ms > %(settled_ms)s)
     ORDER BY 1, 2, 3, 4 LIMIT 1
), since AS (
    SELECT h.* FROM clock_hours h, todo t WHERE h.gateway_id = %(gateway)s AND h.journal = %(journal)s
       AND (h.epoch = h.journal, h.epoch, h.boot, h.hour) >= (t.own, t.epoch, t.boot, t.hour)
     ORDER BY h.epoch = h.journal DESC, h.epoch DESC, h.boot DESC, h.hour DESC LIMIT %(limit)s
), before AS (
    SELECT h.* FROM clock_hours h, todo t WHERE h.gateway_id = %(gateway)s AND h.journal = %(journal)s
       AND (h.epoch = h.journal, h.epoch, h.boot, h.hour) < (t.own, t.epoch, t.boot, t.hour)
     ORDER BY h.epoch = h.journal DESC, h.epoch DESC, h.boot DESC, h.hour DESC LIMIT %(before)s
)
SELECT journal, epoch, boot, hour, first_ms, last_ms, synced_low_ms, synced_high_ms, heard_ms, after_ms, before_ms,
       version, version <> repaired, first_seq, last_seq, low_ms, high_ms, trusted, shown_at_ms, shown_ms, unsure
  FROM (SELECT * FROM since UNION ALL SELECT * FROM before) AS both_

-- name: repair_weighings
-- A clock that was synchronised and is believed keeps its own word.
WITH fresh AS (
    SELECT w.id, right_.clock, CASE WHEN right_.clock THEN w.recorded_at
                     ELSE timestamptz 'epoch'
                          + (w.mono_ms + h.best_ms) * interval '1 millisecond'
           END AS happened_at,
           CASE WHEN right_.clock THEN %(synced_s)s
                ELSE least((h.error_ms + 999) / 1000, 2147483647) END::integer AS error_s,
           CASE WHEN right_.clock THEN 1 ELSE h.how END AS time_how
      FROM unnest(%(epochs)s::bigint[], %(carriers)s::bigint[], %(boots)s::bigint[], %(hours)s::bigint[],
                  %(first_seqs)s::bigint[], %(last_seqs)s::bigint[], %(bests)s::bigint[], %(errors)s::bigint[],
                  %(hows)s::smallint[], %(trusted)s::boolean[])
           AS h (epoch, carrier, boot, hour, first_seq, last_seq, best_ms, error_ms, how, trusted)
      JOIN records r ON r.gateway_id = %(gateway)s AND r.epoch = h.epoch
                    AND r.seq BETWEEN h.first_seq AND h.last_seq AND r.carried_epoch IS NOT DISTINCT FROM h.carrier
      JOIN weighings w ON w.id = r.id AND w.boot = h.boot AND w.mono_ms / 3600000 = h.hour,
           LATERAL (SELECT w.clock = 3 AND h.trusted AS clock) right_
)
UPDATE weighings w SET happened_at = f.happened_at, error_s = f.error_s, time_how = f.time_how
  FROM fresh f
 WHERE w.id = f.id AND (w.happened_at, w.error_s, w.time_how) IS DISTINCT FROM (f.happened_at, f.error_s, f.time_how)

-- name: keep_bounds
-- What arrived meanwhile has raised `version`: the row stays due.
UPDATE clock_hours h SET repaired = n.version, low_ms = n.low_ms, high_ms = n.high_ms, trusted = n.trusted
  FROM unnest(%(epochs)s::bigint[], %(boots)s::bigint[], %(hours)s::bigint[], %(versions)s::bigint[],
              %(lows)s::bigint[], %(highs)s::bigint[], %(trusted)s::boolean[])
       AS n (epoch, boot, hour, version, low_ms, high_ms, trusted)
 WHERE (h.gateway_id, h.journal, h.epoch, h.boot, h.hour) = (%(gateway)s, %(journal)s, n.epoch, n.boot, n.hour)

-- name: raise_skew
INSERT INTO alarms (id, gateway_id, code, detail)
SELECT %(id)s, %(gateway)s, 'clock.skewed', %(detail)s
 WHERE NOT EXISTS (SELECT FROM alarms WHERE gateway_id = %(gateway)s AND code = 'clock.skewed' AND resolved_at IS NULL)

-- name: resolve_skew
UPDATE alarms SET resolved_at = now()
 WHERE gateway_id = %(gateway)s AND code = 'clock.skewed' AND resolved_at IS NULL

-- name: prune
DELETE FROM clock_hours WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM clock_hours WHERE updated_at < now() - interval '400 days' AND version = repaired LIMIT 10000))
