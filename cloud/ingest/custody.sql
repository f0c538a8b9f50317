-- Custody, one record at a time. Each block touches no row if the pickup it belongs to is not known.

-- name: open_pickup
INSERT INTO pickups (id, gateway_id, epoch, seq, drop_point_id, collector, opened_at)
VALUES (%(id)s, %(gateway)s, %(epoch)s, %(pickup_seq)s, %(drop_point)s, %(collector)s,
        timestamptz '2000-01-01 00:00:00Z' + %(at_us)s::bigint * interval '1 microsecond')
ON CONFLICT (id) DO NOTHING

-- name: close_pickup
UPDATE pickups SET outcome = coalesce(outcome, %(outcome)s::text), bins = coalesce(bins, %(bins)s::integer),
       net_g = coalesce(net_g, %(net_g)s::bigint),
       closed_at = coalesce(closed_at,
                            timestamptz '2000-01-01 00:00:00Z' + %(at_us)s::bigint * interval '1 microsecond')
 WHERE id = same_side(%(gateway)s, %(epoch)s, %(seq)s, %(id)s, %(pickup_seq)s)

-- name: empty_bin
WITH pickup AS (
    SELECT id, 'card:' || encode(substr(collector, 1, 8), 'hex') AS taker FROM pickups
     WHERE id = same_side(%(gateway)s, %(epoch)s, %(seq)s, %(id)s, %(pickup_seq)s)
), bin AS (
    INSERT INTO pickup_bins (id, gateway_id, epoch, pickup_seq, bin, material, gross_g, tare_g, net_g, estimated,
                             emptied, at, seq, pickup_id)
    SELECT %(id)s, %(gateway)s, %(epoch)s, %(pickup_seq)s, %(bin)s,
           coalesce((SELECT material FROM bins WHERE code = %(bin)s), ''), %(gross_g)s, %(tare_g)s, %(net_g)s,
           %(estimated)s, %(emptied)s,
           timestamptz '2000-01-01 00:00:00Z' + %(at_us)s::bigint * interval '1 microsecond', %(seq)s, pickup.id
      FROM pickup
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), moved AS (
    INSERT INTO custody_movements (id, gateway_id, epoch, pickup_seq, kind, giver, taker, net_g, estimated, lines, at,
                                   seq, pickup_id)
    SELECT b.id, b.gateway_id, b.epoch, b.pickup_seq, 'collected', %(party)s, p.taker, b.net_g, b.estimated,
           jsonb_build_object(b.material, b.net_g), b.at, b.seq, p.id
      FROM bin b, pickup p WHERE b.emptied AND b.net_g > 0
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), passed_on AS (
    -- Hand-overs that were here before this bin, which comes before them: they passed its kilos on, too.
    UPDATE custody_movements h SET estimated = h.estimated OR b.estimated,
           lines = h.lines || jsonb_build_object(b.material, coalesce((h.lines->>b.material)::bigint, 0) + b.net_g)
      FROM bin b
     WHERE b.emptied AND h.kind = 'handed_over' AND h.pickup_id = b.pickup_id AND h.seq > b.seq
       AND same_side(h.gateway_id, h.epoch, h.seq, h.id, b.seq) = b.id
    RETURNING h.giver, h.taker, b.net_g
), held AS (
    INSERT INTO custody_balances (party, material, net_g)
    SELECT side.party, (SELECT material FROM bin), sum(side.net_g)::bigint
      FROM (SELECT giver, taker, net_g FROM moved UNION ALL SELECT giver, taker, net_g FROM passed_on) m,
           LATERAL (VALUES (m.giver, -m.net_g), (m.taker, m.net_g)) side (party, net_g)
     GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (party, material) DO UPDATE SET net_g = custody_balances.net_g + excluded.net_g
), told AS (
    INSERT INTO events (type, key, payload)
    SELECT 'bin.emptied', id::text, jsonb_build_object('bin', bin, 'net_g', net_g, 'material', material,
                                                       'estimated', estimated) FROM bin
)
SELECT 1 FROM pickup

-- name: hand_over
-- What is passed on are the bins emptied before, by the journal's own order.
WITH pickup AS (
    SELECT id FROM pickups WHERE id = same_side(%(gateway)s, %(epoch)s, %(seq)s, %(id)s, %(pickup_seq)s)
), lines AS (
    SELECT material, sum(net_g)::bigint AS net_g, bool_or(estimated) AS estimated FROM pickup_bins
     WHERE pickup_id = (SELECT id FROM pickup) AND emptied AND seq < %(seq)s
       AND same_side(%(gateway)s, %(epoch)s, %(seq)s, %(id)s, seq) = id
     GROUP BY material
), moved AS (
    INSERT INTO custody_movements (id, gateway_id, epoch, pickup_seq, kind, giver, taker, net_g, estimated, lines, at,
                                   seq, pickup_id)
    SELECT %(id)s, %(gateway)s, %(epoch)s, %(pickup_seq)s, 'handed_over', %(giver_party)s, %(taker_party)s, %(net_g)s,
           coalesce((SELECT bool_or(estimated) FROM lines), false),
           coalesce((SELECT jsonb_object_agg(material, net_g) FROM lines), '{}'),
           timestamptz '2000-01-01 00:00:00Z' + %(at_us)s::bigint * interval '1 microsecond', %(seq)s, pickup.id
      FROM pickup
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), held AS (
    INSERT INTO custody_balances (party, material, net_g)
    SELECT side.party, l.material, side.sign * l.net_g
      FROM moved m, lines l, LATERAL (VALUES (m.giver, -1), (m.taker, 1)) side (party, sign)
     ORDER BY 1, 2
    ON CONFLICT (party, material) DO UPDATE SET net_g = custody_balances.net_g + excluded.net_g
), told AS (
    INSERT INTO events (type, key, payload)
    SELECT 'custody.handed_over', id::text, jsonb_build_object('giver', giver, 'taker', taker, 'net_g', net_g) FROM moved
)
SELECT 1 FROM pickup
