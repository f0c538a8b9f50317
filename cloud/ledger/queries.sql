-- The ledger's queries; accounts are always locked in the order of their ids.

-- name: lock_accounts
SELECT id, kind, key, balance, heir FROM accounts WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE

-- name: open_accounts
INSERT INTO accounts (id, kind, key, citizen_id)
SELECT u.id, u.kind, u.key, z.id
  FROM unnest(%(ids)s::uuid[], %(kinds)s::text[], %(keys)s::bytea[]) AS u (id, kind, key)
  LEFT JOIN citizens z ON z.pseudonym = u.key AND u.kind IN ('citizen', 'receivable')
 ORDER BY u.id
ON CONFLICT DO NOTHING

-- name: insert_transfers
INSERT INTO transfers (id, debit, credit, amount, code, state, source, resolves, created_at)
SELECT u.*, now()
  FROM unnest(%(ids)s::uuid[], %(debits)s::uuid[], %(credits)s::uuid[], %(amounts)s::bigint[], %(codes)s::smallint[],
              %(states)s::text[], %(sources)s::uuid[], %(resolves)s::uuid[]) AS u
ON CONFLICT (id) DO NOTHING
RETURNING id

-- name: move_balances
UPDATE accounts a SET balance = a.balance + d.delta
  FROM unnest(%(ids)s::uuid[], %(deltas)s::bigint[]) AS d (id, delta)
 WHERE a.id = d.id

-- name: pending_of
-- Awards that wait for their epoch's fork to be settled, unresolved. Whoever else decides on one, or takes its
-- weighing back, waits, and then finds it decided.
SELECT t.id, t.debit, t.credit, t.amount
  FROM weighings w JOIN transfers t ON t.id = w.id
 WHERE w.id = ANY(%(ids)s) AND w.pending AND w.voided_by IS NULL AND t.state = 'pending'
   AND NOT EXISTS (SELECT FROM transfers r WHERE r.resolves = t.id)
 ORDER BY w.id
   FOR UPDATE OF w

-- name: unpend
-- Those of no points have no award and are released with the others.
WITH released AS (
    UPDATE weighings SET pending = false
     WHERE id = ANY(%(ids)s) OR (id = ANY(%(asked)s) AND pending AND voided_by IS NULL AND points = 0)
    RETURNING id, account_id, points, net_g, material
)
INSERT INTO events (type, key, payload)
SELECT 'weighing.credited', id::text,
       jsonb_build_object('account', account_id, 'points', points, 'net_g', net_g, 'material', material)
  FROM released

-- name: lock_claim
SELECT hash, account_id, deposit_id, claimed_by FROM claims WHERE hash = %(hash)s FOR UPDATE

-- name: mark_claimed
WITH claimed AS (
    UPDATE claims SET claimed_by = %(citizen)s, claimed_at = now() WHERE hash = %(hash)s RETURNING *
)
INSERT INTO events (type, key, payload)
SELECT 'deposit.claimed', encode(hash, 'hex'), jsonb_build_object('citizen', claimed_by, 'deposit', deposit_id)
  FROM claimed

-- name: heirs
SELECT heir FROM accounts WHERE id = ANY(%(ids)s) AND heir IS NOT NULL

-- name: set_heir
UPDATE accounts SET heir = %(heir)s WHERE id = %(id)s

-- name: citizen_pseudonym
SELECT pseudonym FROM citizens WHERE id = %(id)s

-- name: balances
SELECT kind, balance FROM accounts WHERE id = ANY(%(ids)s)

-- name: pending_sum
SELECT coalesce(sum(t.amount), 0)::bigint FROM transfers t
 WHERE t.credit = %(id)s AND t.state = 'pending' AND NOT EXISTS (SELECT FROM transfers r WHERE r.resolves = t.id)

-- name: statement
-- The running balance after each posted transfer, newest first. What a line is for happened when its weighing did.
SELECT page.*, w.happened_at, w.error_s FROM (
    SELECT number, id, at, code, amount, balance, source, state FROM (
        SELECT number, id, created_at AS at, code, signed AS amount, source, state,
               sum(CASE WHEN state = 'posted' THEN signed ELSE 0 END) OVER (ORDER BY number)::bigint AS balance
          FROM (SELECT t.*, amount AS signed FROM transfers t WHERE credit = %(id)s
                UNION ALL
                SELECT t.*, -amount FROM transfers t WHERE debit = %(id)s AND code <> 1) AS sides
    ) AS lines
     WHERE number < %(before)s ORDER BY number DESC LIMIT %(limit)s
) AS page LEFT JOIN weighings w ON w.id = page.source AND page.code IN (1, 2, 3, 6, 7)
 ORDER BY number DESC

-- name: verify_balances
-- Accounts whose balance is not the sum of their transfers, or is negative.
SELECT a.id::text, a.kind, a.balance, coalesce(s.net, 0)::bigint
  FROM accounts a
  LEFT JOIN (SELECT account, sum(amount) AS net FROM (
                SELECT credit AS account, amount FROM transfers WHERE state = 'posted'
                UNION ALL SELECT debit, -amount FROM transfers WHERE state = 'posted') AS sides
              GROUP BY account) s ON s.account = a.id
 WHERE a.kind <> 'issuer'
   AND (a.balance < 0 OR a.balance <> CASE a.kind WHEN 'receivable' THEN -1 ELSE 1 END * coalesce(s.net, 0))
 LIMIT 100

-- name: verify_parties
-- Transfers from or to an account that does not exist.
SELECT t.id::text FROM transfers t
 WHERE NOT EXISTS (SELECT FROM accounts a WHERE a.id = t.debit)
    OR NOT EXISTS (SELECT FROM accounts a WHERE a.id = t.credit)
 LIMIT 100

-- name: verify_ids
-- Transfers whose id does not follow from source and code, or whose sides or amount no code allows.
SELECT t.id::text FROM transfers t
 WHERE t.amount <= 0 OR t.debit = t.credit
    OR substr(uuid_send(t.id), 1, 15) <> substr(uuid_send(t.source), 1, 15)
    OR get_byte(uuid_send(t.id), 15) <> get_byte(uuid_send(t.source), 15) # (t.code - 1)
    OR (t.code = 1) <> (t.debit = account_id('issuer', 'points') AND t.code NOT IN (6, 7))
 LIMIT 100

-- name: verify_awards
-- Weighings whose credited points are not those of their award, and awards without a weighing.
SELECT coalesce(w.id, t.id)::text, w.points, t.amount
  FROM weighings w FULL JOIN (SELECT * FROM transfers WHERE code = 1) t ON t.id = w.id
 WHERE coalesce(w.points, 0) <> coalesce(t.amount, 0)
    OR (w.id IS NOT NULL AND t.id IS NOT NULL AND (w.account_id <> t.credit OR t.debit <> account_id('issuer', 'points')))
    OR (w.id IS NULL)
    OR (w.points <> div(w.net_g::numeric * w.points_per_kg, 1000))
    OR (w.points_shown <> w.points)
 LIMIT 100

-- name: verify_voids
-- Voided weighings whose points were not taken back whole, and points taken back from others.
SELECT w.id::text, w.points, coalesce(r.amount, 0)::bigint
  FROM weighings w
  LEFT JOIN (SELECT source, sum(amount) AS amount FROM transfers WHERE code IN (2, 3, 7) GROUP BY source) r
    ON r.source = w.id
 WHERE coalesce(r.amount, 0) <> CASE WHEN w.voided_by IS NULL THEN 0 ELSE w.points END
 LIMIT 100

-- name: verify_resolutions
-- Posts and voids that do not match the pending transfer they resolve.
SELECT r.id::text FROM transfers r LEFT JOIN transfers p ON p.id = r.resolves
 WHERE r.resolves IS NOT NULL
   AND (p.id IS NULL OR p.state <> 'pending' OR p.amount <> r.amount OR p.debit <> r.debit OR p.credit <> r.credit)
 LIMIT 100

-- name: verify_counts
SELECT (SELECT count(*) FROM transfers), (SELECT count(*) FROM accounts), (SELECT count(*) FROM weighings),
       (SELECT coalesce(sum(balance), 0)::bigint FROM accounts WHERE kind IN ('citizen', 'holding')),
       (SELECT coalesce(sum(balance), 0)::bigint FROM accounts WHERE kind = 'receivable'),
       (SELECT coalesce(sum(CASE WHEN debit = account_id('issuer', 'points') THEN amount ELSE -amount END), 0)::bigint
          FROM transfers
         WHERE state = 'posted' AND account_id('issuer', 'points') IN (debit, credit))

-- name: void_pending
-- Who withdraws says that there was no such load: its kilos go as those of a weighing taken back at the kiosk do.
WITH withdrawn AS (
    UPDATE weighings SET voided_by = id
     WHERE id = ANY(%(ids)s) OR (id = ANY(%(asked)s) AND pending AND voided_by IS NULL AND points = 0)
    RETURNING id, account_id, points, net_g, material, drop_point_id, gateway_id
), kilos AS (
    INSERT INTO custody_balances (party, material, net_g)
    SELECT coalesce('drop-point:' || drop_point_id, 'gateway:' || gateway_id), material, -sum(net_g)
      FROM withdrawn GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (party, material) DO UPDATE SET net_g = custody_balances.net_g + excluded.net_g
)
INSERT INTO events (type, key, payload)
SELECT 'weighing.voided', id::text,
       jsonb_build_object('account', account_id, 'points', points, 'net_g', net_g, 'material', material)
  FROM withdrawn

-- name: pending_weighings
-- What forked journals left for a person to decide.
SELECT gateway_id, epoch, count(*), sum(points)::bigint, sum(net_g)::bigint, array_agg(id ORDER BY seq, id)
  FROM weighings WHERE pending AND voided_by IS NULL AND (%(gateway)s::text IS NULL OR gateway_id = %(gateway)s)
   AND (%(epoch)s::bigint IS NULL OR epoch = %(epoch)s)
 GROUP BY 1, 2 ORDER BY 1, 2

-- name: count_claims
SELECT count(*) FROM transfers WHERE debit = %(id)s AND code = 5

-- name: holdings
-- A holding's key is what kind of holder it is of, a colon, and the holder.
SELECT * FROM (
    SELECT a.id, convert_from(substr(a.key, 1, position(':'::bytea IN a.key) - 1), 'SQL_ASCII') AS kind,
           substr(a.key, position(':'::bytea IN a.key) + 1), a.balance, h.citizen_id
      FROM accounts a LEFT JOIN accounts h ON h.id = a.heir
     WHERE a.kind = 'holding' AND a.balance > 0 AND (%(after)s::uuid IS NULL OR a.id > %(after)s)
) AS held WHERE %(kind)s::text IS NULL OR kind = %(kind)s ORDER BY id LIMIT %(limit)s
