-- The application of effects. Each block runs inside the one transaction of a batch; `store` says when.

-- name: session
-- Stages live as long as the connection; each batch finds them empty.
CREATE TEMP TABLE IF NOT EXISTS stage_holders (
    n integer, kind smallint, holder bytea, account_id uuid, account_kind text, account_key bytea,
    pseudonym bytea, citizen_id uuid, revoked_id uuid, deposit_id uuid
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS stage_deposits (
    id uuid, epoch bigint, seq bigint, holder integer, opened_at timestamptz, gateway_id text,
    closed_at timestamptz, outcome text
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS stage_closings (
    id uuid, epoch bigint, own bigint, seq bigint, at timestamptz, gateway_id text, outcome text
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS stage_weighings (
    id uuid, epoch bigint, seq bigint, deposit_seq bigint, holder integer, gross_g bigint, tare_g bigint,
    net_g bigint, points_per_kg bigint, points bigint, points_shown bigint, recorded_at timestamptz, boot bigint,
    mono_ms bigint, clock smallint, tare_kind smallint, late_catalog boolean, manual boolean, pending boolean,
    gateway_id text, drop_point_id uuid, material text
) ON COMMIT DELETE ROWS;
SET jit = off

-- name: start_cursors
INSERT INTO cursors (gateway_id, epoch, through, digest)
SELECT * FROM unnest(%(gateways)s::text[], %(epochs)s::bigint[], %(throughs)s::bigint[], %(digests)s::bytea[])
 ORDER BY 1, 2
ON CONFLICT DO NOTHING

-- name: read_cursors
SELECT c.gateway_id, c.epoch, c.through, c.digest, c.state = 'closed'
  FROM unnest(%(gateways)s::text[], %(epochs)s::bigint[]) AS wanted (gateway_id, epoch)
  JOIN cursors c USING (gateway_id, epoch)

-- name: lock_cursors
-- In sorted order, so that two ingests never wait for each other in a ring.
SELECT c.gateway_id, c.epoch, c.through, c.digest, c.state = 'closed'
  FROM cursors c
 WHERE (c.gateway_id, c.epoch) IN (SELECT * FROM unnest(%(gateways)s::text[], %(epochs)s::bigint[]))
 ORDER BY c.gateway_id, c.epoch
   FOR UPDATE

-- name: read_gateways
SELECT id, drop_point_id, state = 'revoked' FROM gateways WHERE id = ANY(%(gateways)s)

-- name: read_known
-- A record that was carried stands on its own epoch's chain like any other, unless the epoch is forked.
SELECT DISTINCT ON (gateway_id, epoch, seq) gateway_id, epoch, seq, digest
  FROM unnest(%(gateways)s::text[], %(epochs)s::bigint[], %(seqs)s::bigint[]) AS wanted (gateway_id, epoch, seq)
  JOIN records USING (gateway_id, epoch, seq)
 ORDER BY gateway_id, epoch, seq, carried_epoch NULLS FIRST, carried_seq

-- name: read_stored
SELECT id FROM unnest(%(gateways)s::text[], %(epochs)s::bigint[], %(seqs)s::bigint[]) AS wanted (gateway_id, epoch, seq)
  JOIN records USING (gateway_id, epoch, seq)

-- name: credit
-- 1. Who is it? A revoked card, a citizen's tag and a claimed deposit lead elsewhere than the holder alone says.
-- What a revoked card brought goes to a holding of the card's, unless a clock that was right (3: synced) says that it
-- was before. So such a holder n has a second row, -n - 1, for what came after.
INSERT INTO stage_holders (n, kind, holder, account_id, account_kind, account_key, deposit_id)
SELECT -h.n - 1, h.kind, h.holder, h.revoked_id, 'holding', 'card:'::bytea || h.holder, h.deposit_id
  FROM stage_holders h JOIN cards c ON h.kind = 1 AND c.serial = h.holder AND c.revoked_at IS NOT NULL;
UPDATE stage_weighings s SET holder = h.n
  FROM stage_holders h JOIN cards c ON c.serial = h.holder
 WHERE EXISTS (SELECT FROM stage_holders WHERE n < 0)
   AND h.n = -s.holder - 1 AND NOT (s.clock = 3 AND s.recorded_at < c.revoked_at);
UPDATE stage_deposits s SET holder = h.n
  FROM stage_holders h JOIN cards c ON c.serial = h.holder
 WHERE EXISTS (SELECT FROM stage_holders WHERE n < 0)
   AND h.n = -s.holder - 1 AND s.opened_at >= c.revoked_at;
DELETE FROM stage_holders h
 WHERE EXISTS (SELECT FROM stage_holders WHERE n < 0)
   AND NOT EXISTS (SELECT FROM stage_weighings s WHERE s.holder = h.n)
   AND NOT EXISTS (SELECT FROM stage_deposits s WHERE s.holder = h.n);
UPDATE stage_holders h SET account_id = account_id('citizen', z.pseudonym), account_kind = 'citizen',
       account_key = z.pseudonym, pseudonym = z.pseudonym
  FROM tags t JOIN citizens z ON z.id = t.citizen_id WHERE h.kind = 2 AND t.raw = h.holder;
INSERT INTO claims (hash, account_id, deposit_id)
SELECT holder, account_id, deposit_id FROM stage_holders WHERE kind = 0 ORDER BY holder
ON CONFLICT (hash) DO UPDATE SET deposit_id = excluded.deposit_id
    WHERE claims.deposit_id IS NULL AND excluded.deposit_id IS NOT NULL;
WITH locked AS MATERIALIZED (
    SELECT c.hash, c.claimed_by FROM stage_holders h JOIN claims c ON c.hash = h.holder
     WHERE h.kind = 0 ORDER BY c.hash FOR SHARE OF c
)
UPDATE stage_holders h SET account_id = account_id('citizen', z.pseudonym), account_kind = 'citizen',
       account_key = z.pseudonym, pseudonym = z.pseudonym
  FROM locked l JOIN citizens z ON z.id = l.claimed_by WHERE h.kind = 0 AND h.holder = l.hash;
-- 2. Citizens a restored cloud does not know get their account back by the pseudonym on their card.
INSERT INTO citizens (id, pseudonym)
SELECT DISTINCT ON (h.pseudonym) h.citizen_id, h.pseudonym FROM stage_holders h
 WHERE h.account_kind = 'citizen' AND h.kind = 1
   AND NOT EXISTS (SELECT FROM accounts a WHERE a.id = h.account_id)
 ORDER BY h.pseudonym
ON CONFLICT (pseudonym) DO NOTHING;
INSERT INTO accounts (id, kind, key, citizen_id)
SELECT DISTINCT ON (h.account_id) h.account_id, h.account_kind, h.account_key, z.id
  FROM stage_holders h LEFT JOIN citizens z ON z.pseudonym = h.pseudonym
 WHERE NOT EXISTS (SELECT FROM accounts a WHERE a.id = h.account_id)
 ORDER BY h.account_id
ON CONFLICT DO NOTHING;
-- 3. Visits, then weighings: only those that are new are credited, and so each is once.
INSERT INTO deposits (id, gateway_id, epoch, seq, holder_kind, holder, account_id, opened_at, closed_at, outcome)
SELECT s.id, s.gateway_id, s.epoch, s.seq, h.kind, h.holder, h.account_id, s.opened_at, s.closed_at, s.outcome
  FROM stage_deposits s JOIN stage_holders h ON h.n = s.holder
ON CONFLICT (id) DO NOTHING;
WITH credited AS (
    INSERT INTO weighings (id, gateway_id, epoch, seq, deposit_seq, drop_point_id, account_id, material, gross_g, tare_g,
                           net_g, points_per_kg, points, points_shown, recorded_at, received_at, boot, mono_ms, clock,
                           tare_kind, holder_kind, holder, late_catalog, manual, pending, happened_at, error_s, time_how)
    SELECT s.id, s.gateway_id, s.epoch, s.seq, s.deposit_seq, s.drop_point_id, h.account_id, s.material, s.gross_g,
           s.tare_g, s.net_g, s.points_per_kg, s.points, nullif(s.points_shown, -1), s.recorded_at, now(), s.boot,
           s.mono_ms, s.clock, s.tare_kind, h.kind, h.holder, s.late_catalog, s.manual, s.pending,
           CASE WHEN right_.now THEN s.recorded_at ELSE now() END, CASE WHEN right_.now THEN 16 END,
           CASE WHEN right_.now THEN 1 ELSE 0 END
      FROM stage_weighings s JOIN stage_holders h ON h.n = s.holder,
           LATERAL (SELECT s.clock = 3 AND s.recorded_at <= now() + interval '16 s' AS now) right_
    ON CONFLICT (id) DO NOTHING
    RETURNING id, account_id, points, pending, net_g, material, drop_point_id, gateway_id
), sums AS (
    SELECT account_id, sum(points)::bigint AS points FROM credited WHERE points > 0 AND NOT pending GROUP BY account_id
), balances AS (
    -- An upsert only because it takes its locks in the order of its input; every account exists by now.
    INSERT INTO accounts (id, kind, key, balance)
    SELECT account_id, 'citizen', ''::bytea, points FROM sums ORDER BY account_id
    ON CONFLICT (id) DO UPDATE SET balance = accounts.balance + excluded.balance
    RETURNING id
), kilos AS (
    INSERT INTO custody_balances (party, material, net_g)
    SELECT coalesce('drop-point:' || drop_point_id, 'gateway:' || gateway_id), material, sum(net_g)
      FROM credited GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (party, material) DO UPDATE SET net_g = custody_balances.net_g + excluded.net_g
), told AS (
    INSERT INTO events (type, key, payload)
    SELECT CASE WHEN pending THEN 'weighing.held_back' ELSE 'weighing.credited' END, id::text,
           jsonb_build_object('account', account_id, 'points', points, 'net_g', net_g, 'material', material)
      FROM credited
)
INSERT INTO transfers (id, debit, credit, amount, code, state, source, created_at)
SELECT c.id, '{issuer}', c.account_id, c.points, 1, CASE WHEN c.pending THEN 'pending' ELSE 'posted' END, c.id, now()
  FROM credited c LEFT JOIN balances b ON b.id = c.account_id
 WHERE c.points > 0

-- name: close_visits
-- Of several ends of one visit the first counts. Those whose visit is not here come back.
WITH meant AS MATERIALIZED (
    SELECT e.id, e.ctid AS place, same_side(e.gateway_id, e.epoch, e.own, e.id, e.seq) AS visit, e.at, e.outcome
      FROM stage_closings e
), closed AS (
    UPDATE deposits d SET closed_at = s.at, outcome = s.outcome
      FROM (SELECT DISTINCT ON (visit) * FROM meant ORDER BY visit, place) s
     WHERE d.id = s.visit AND d.closed_at IS NULL
)
SELECT id FROM meant m WHERE NOT EXISTS (SELECT FROM deposits d WHERE d.id = m.visit)

-- name: forget_closings
DELETE FROM stage_closings

-- name: due
-- Who was credited here and owes from an earlier reversal?
SELECT DISTINCT h.account_id, r.key
  FROM accounts r JOIN stage_holders h ON h.account_key = r.key
 WHERE r.kind = 'receivable' AND r.balance > 0

-- name: void_weighings
-- In the order in which they were taken back: it says how much of each the balance covered. Twice is once.
WITH taken AS (
    SELECT DISTINCT ON (weighing_id) v.n, v.id AS void_id,
           same_side(v.gateway_id, v.epoch, v.own, v.id, v.seq) AS weighing_id
      FROM unnest(%(ids)s::uuid[], %(gateways)s::text[], %(epochs)s::bigint[], %(own)s::bigint[], %(seqs)s::bigint[])
           WITH ORDINALITY AS v (id, gateway_id, epoch, own, seq, n)
     ORDER BY weighing_id, v.n
), voided AS (
    UPDATE weighings w SET voided_by = t.void_id FROM taken t WHERE w.id = t.weighing_id AND w.voided_by IS NULL
    RETURNING t.n, w.id, w.account_id, w.points, w.pending, w.net_g, w.material, w.drop_point_id, w.gateway_id
), kilos AS (
    INSERT INTO custody_balances (party, material, net_g)
    SELECT coalesce('drop-point:' || drop_point_id, 'gateway:' || gateway_id), material, -sum(net_g)
      FROM voided GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (party, material) DO UPDATE SET net_g = custody_balances.net_g + excluded.net_g
), told AS (
    INSERT INTO events (type, key, payload)
    SELECT 'weighing.voided', id::text, jsonb_build_object('account', account_id, 'points', points, 'net_g', net_g,
                                                           'material', material)
      FROM voided
)
SELECT id, account_id, points, pending FROM voided ORDER BY n

-- name: voids_without_weighing
WITH taken AS (
    SELECT v.id AS void_id, same_side(v.gateway_id, v.epoch, v.own, v.id, v.seq) AS weighing_id
      FROM unnest(%(ids)s::uuid[], %(gateways)s::text[], %(epochs)s::bigint[], %(own)s::bigint[], %(seqs)s::bigint[])
           AS v (id, gateway_id, epoch, own, seq)
)
SELECT id FROM unnest(%(ids)s::uuid[]) AS v (id)
 WHERE NOT EXISTS (SELECT FROM taken t JOIN weighings w ON w.id = t.weighing_id WHERE t.void_id = v.id)

-- name: move_cursors
UPDATE cursors c SET through = m.through, digest = m.digest, updated_at = now(),
       state = CASE WHEN m.closed THEN 'closed' ELSE c.state END
  FROM unnest(%(gateways)s::text[], %(epochs)s::bigint[], %(throughs)s::bigint[], %(digests)s::bytea[],
              %(closed)s::boolean[]) AS m (gateway_id, epoch, through, digest, closed)
 WHERE (c.gateway_id, c.epoch) = (m.gateway_id, m.epoch)

-- name: hold
INSERT INTO quarantine (id, gateway_id, epoch, seq, code, message, data, pending)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING

-- name: note_gap
INSERT INTO gaps (gateway_id, epoch, first, last) VALUES (%s, %s, %s, %s)

-- name: close_gap
DELETE FROM gaps WHERE gateway_id = %s AND epoch = %s AND first = %s AND last = %s

-- name: read_gaps
SELECT g.gateway_id, g.epoch, g.first, g.last,
       (SELECT digest FROM records r WHERE (r.gateway_id, r.epoch, r.seq) = (g.gateway_id, g.epoch, g.first - 1)
         ORDER BY carried_epoch NULLS FIRST, carried_seq LIMIT 1),
       (SELECT digest FROM records r WHERE (r.gateway_id, r.epoch, r.seq) = (g.gateway_id, g.epoch, g.last + 1)
         ORDER BY carried_epoch NULLS FIRST, carried_seq LIMIT 1)
  FROM unnest(%(gateways)s::text[], %(epochs)s::bigint[]) AS wanted (gateway_id, epoch) JOIN gaps g USING (gateway_id, epoch)
 ORDER BY 1, 2, 3

-- name: resolve_gap_alarms
-- What was missing has come in: nobody needs to look for it.
UPDATE alarms a SET resolved_at = now()
 WHERE a.code = 'epoch.gap' AND a.resolved_at IS NULL
   AND (a.gateway_id, (a.detail->>'epoch')::bigint) IN (SELECT * FROM unnest(%(gateways)s::text[], %(epochs)s::bigint[]))
   AND NOT EXISTS (SELECT FROM gaps g
                    WHERE (g.gateway_id, g.epoch) = (a.gateway_id, (a.detail->>'epoch')::bigint)
                      AND g.first <= (a.detail->>'last')::bigint AND g.last >= (a.detail->>'first')::bigint)

-- name: raise_alarm
INSERT INTO alarms (id, gateway_id, code, detail) VALUES (%s, %s, %s, %s)

-- name: refuse
INSERT INTO refusals AS r (id, gateway_id, road, code, hour, detail, sample)
VALUES (%s, %s, %s, %s, date_trunc('hour', now()), %s, %s)
ON CONFLICT (gateway_id, road, code, hour)
DO UPDATE SET count = r.count + 1, last_at = now(), detail = excluded.detail

-- name: read_keys
SELECT k.key_id, k.public_key, k.gateway_id FROM gateway_keys k WHERE k.key_id = ANY(%(ids)s)

-- name: read_catalogs
SELECT digest, generation, version, issued_at FROM documents WHERE name = 'catalog'

-- name: read_catalog
SELECT data FROM documents WHERE name = 'catalog' AND digest = %s

-- name: read_key_documents
SELECT data FROM documents WHERE name = 'keys' ORDER BY generation DESC, version DESC LIMIT 100

-- name: read_rates
SELECT material, valid_from, points_per_kg FROM rates ORDER BY material, valid_from, version

-- name: waiting
-- What stands behind a place where something takes effect, and waited for another record.
SELECT q.id, q.gateway_id, q.epoch, q.seq, q.code, q.message, q.data, q.pending
  FROM unnest(%(gateways)s::text[], %(epochs)s::bigint[], %(seqs)s::bigint[]) AS late (gateway_id, epoch, seq),
       LATERAL (SELECT * FROM quarantine q
                 WHERE q.gateway_id = late.gateway_id AND q.epoch = late.epoch AND q.seq > late.seq
                   AND q.state = 'held' AND q.code = ANY(%(codes)s::text[])
                 ORDER BY q.seq, q.id LIMIT %(limit)s FOR UPDATE) q
 ORDER BY q.gateway_id, q.epoch, q.seq, q.id

-- name: strays
SELECT id, gateway_id, epoch, seq, code, message, data, pending FROM quarantine
 WHERE id = ANY(%(ids)s::uuid[]) AND state = 'held' AND code = %(code)s
 ORDER BY gateway_id, epoch, seq, id FOR UPDATE

-- name: forget_stages
DELETE FROM stage_holders; DELETE FROM stage_deposits; DELETE FROM stage_weighings; DELETE FROM stage_closings

-- name: mark_woken
UPDATE quarantine SET state = 'retried', decided_at = now(), decided_by = 'ingest' WHERE id = ANY(%(ids)s::uuid[])

-- name: lock_epoch_of_held
-- As a batch does: whoever brings what this one waits for comes before, or after.
SELECT FROM cursors WHERE (gateway_id, epoch) = (SELECT gateway_id, epoch FROM quarantine WHERE id = %s) FOR UPDATE

-- name: lock_held
SELECT id, gateway_id, epoch, seq, code, message, data, pending FROM quarantine
 WHERE id = %s AND state = 'held' FOR UPDATE

-- name: list_held
SELECT id FROM quarantine WHERE state = 'held' AND (%(ids)s::uuid[] IS NULL OR id = ANY(%(ids)s))
   AND (%(codes)s::text[] IS NULL OR code = ANY(%(codes)s))
 ORDER BY gateway_id, epoch, seq

-- name: mark_retried
UPDATE quarantine SET state = 'retried', decided_at = now(), decided_by = %s WHERE id = %s

-- name: still_held
UPDATE quarantine SET code = %s, message = %s WHERE id = %s AND state = 'held'
