-- What is seen of gateways' clocks. Each block is the last that its transaction locks rows with.

-- name: note_hours
-- What was seen of clocks, an hour of a boot a row; a row that gains anything gets a new version.
INSERT INTO clock_hours AS h (gateway_id, journal, epoch, boot, hour, first_seq, last_seq, first_ms, last_ms, shown_at_ms,
                              shown_ms, synced_low_ms, synced_high_ms, heard_ms, before_ms, unsure)
SELECT * FROM unnest(%(gateways)s::text[], %(journals)s::bigint[], %(epochs)s::bigint[], %(boots)s::bigint[],
                     %(hours)s::bigint[], %(first_seqs)s::bigint[], %(last_seqs)s::bigint[], %(firsts)s::bigint[],
                     %(lasts)s::bigint[], %(shown_at)s::bigint[], %(shown)s::bigint[], %(synced_lows)s::bigint[],
                     %(synced_highs)s::bigint[], %(heard)s::bigint[], %(befores)s::bigint[],
                     %(unsure)s::boolean[])
 ORDER BY 1, 2, 3, 4, 5
ON CONFLICT (gateway_id, journal, epoch, boot, hour) DO UPDATE SET
    first_seq = least(h.first_seq, excluded.first_seq), last_seq = greatest(h.last_seq, excluded.last_seq),
    first_ms = least(h.first_ms, excluded.first_ms), last_ms = greatest(h.last_ms, excluded.last_ms),
    shown_ms = CASE WHEN excluded.shown_at_ms >= coalesce(h.shown_at_ms, 0) THEN excluded.shown_ms ELSE h.shown_ms END,
    shown_at_ms = greatest(h.shown_at_ms, excluded.shown_at_ms),
    synced_low_ms = least(h.synced_low_ms, excluded.synced_low_ms),
    synced_high_ms = greatest(h.synced_high_ms, excluded.synced_high_ms),
    heard_ms = greatest(h.heard_ms, excluded.heard_ms),
    before_ms = least(h.before_ms, excluded.before_ms), unsure = h.unsure OR excluded.unsure,
    due_since = CASE WHEN h.version = h.repaired THEN now() ELSE h.due_since END, version = h.version + 1,
    updated_at = now()

-- name: note_documents
-- Whoever holds a document lives after it was signed.
UPDATE clock_hours h SET after_ms = greatest(h.after_ms, held.after_ms)
  FROM (SELECT gateway_id, journal, epoch, boot, hour,
               max((extract(epoch FROM d.issued_at) * 1000)::bigint - at_ms) AS after_ms
          FROM unnest(%(gateways)s::text[], %(journals)s::bigint[], %(epochs)s::bigint[], %(boots)s::bigint[],
                      %(hours)s::bigint[], %(digests)s::bytea[], %(at)s::bigint[])
               AS seen (gateway_id, journal, epoch, boot, hour, digest, at_ms)
          JOIN documents d USING (digest)
         GROUP BY 1, 2, 3, 4, 5) AS held
 WHERE (h.gateway_id, h.journal, h.epoch, h.boot, h.hour)
     = (held.gateway_id, held.journal, held.epoch, held.boot, held.hour)

-- name: see_again
UPDATE clock_hours h SET version = h.version + 1, unsure = true,
       due_since = CASE WHEN h.version = h.repaired THEN now() ELSE h.due_since END
  FROM unnest(%(gateways)s::text[], %(epochs)s::bigint[], %(seqs)s::bigint[]) AS late (gateway_id, epoch, seq)
 WHERE (h.gateway_id, h.epoch) = (late.gateway_id, late.epoch) AND late.seq BETWEEN h.first_seq AND h.last_seq
