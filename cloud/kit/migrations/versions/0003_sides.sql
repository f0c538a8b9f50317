-- The sides of a fork have records at the same places. What a record means by a seq is on its own side: the chain
-- of digests leads there. Nearly always one record stands at a place, and nothing need be followed.

CREATE FUNCTION same_side(of_gateway text, of_epoch bigint, own_seq bigint, own_id uuid, wanted bigint) RETURNS uuid
STABLE PARALLEL SAFE LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
    here records%ROWTYPE;
    before records%ROWTYPE;
BEGIN
    SELECT array_agg(r.id) INTO ids FROM records r
     WHERE r.gateway_id = of_gateway AND r.epoch = of_epoch AND r.seq = wanted;
    IF coalesce(cardinality(ids), 0) < 2 THEN
        RETURN ids[1];
    END IF;
    SELECT * INTO here FROM records r
     WHERE r.gateway_id = of_gateway AND r.epoch = of_epoch AND r.seq = own_seq AND r.id = own_id;
    -- A visit has a few dozen records; beyond a thousand no honest one reaches.
    WHILE here.seq > greatest(wanted, own_seq - 1000) LOOP
        SELECT * INTO before FROM records r
         WHERE r.gateway_id = of_gateway AND r.epoch = of_epoch AND r.seq = here.seq - 1
           AND sha256(r.digest || here.data) = here.digest;
        EXIT WHEN NOT FOUND;
        here := before;
    END LOOP;
    IF here.seq = wanted THEN
        RETURN here.id;
    END IF;
    -- Something between is missing: the one that came the same way, else the one that came by itself.
    SELECT * INTO here FROM records r
     WHERE r.gateway_id = of_gateway AND r.epoch = of_epoch AND r.seq = own_seq AND r.id = own_id;
    RETURN (SELECT r.id FROM records r
             WHERE r.gateway_id = of_gateway AND r.epoch = of_epoch AND r.seq = wanted
             ORDER BY r.carried_epoch IS NOT DISTINCT FROM here.carried_epoch DESC, r.carried_epoch NULLS FIRST,
                      r.carried_seq
             LIMIT 1);
END $$;

ALTER TABLE pickup_bins ADD COLUMN pickup_id uuid;
UPDATE pickup_bins SET pickup_id = same_side(gateway_id, epoch, coalesce(seq, pickup_seq), id, pickup_seq);
CREATE INDEX pickup_bins_of ON pickup_bins (pickup_id);
ALTER TABLE custody_movements ADD COLUMN pickup_id uuid;
UPDATE custody_movements SET pickup_id = same_side(gateway_id, epoch, coalesce(seq, pickup_seq), id, pickup_seq);
CREATE INDEX custody_movements_of ON custody_movements (pickup_id);
