-- Every statement the journal runs, by name. `:name` parameters are bound, never formatted in.

-- name: insert_record
-- One row of the chain; its transaction is what "saved" means.
INSERT INTO records (seq, data, digest) VALUES (?, ?, ?);

-- name: create_journal
INSERT INTO journal (
    one, gateway, epoch, generation, reason, boot, boot_id, carried_through,
    anchor_seq, anchor_digest, acked, acked_digest, server_time_ms
) VALUES (
    1, :gateway, :epoch, :generation, :reason, :boot, :boot_id, 0,
    0, :genesis, 0, :genesis, :server_time_ms
);

-- name: read_journal
SELECT gateway, epoch, generation, reason, boot, boot_id, carried_through,
       anchor_seq, anchor_digest, acked, acked_digest, server_time_ms, settled_ms
FROM journal;

-- name: set_boot
UPDATE journal SET boot = :boot, boot_id = :boot_id;

-- name: set_carried_through
UPDATE journal SET carried_through = :seq;

-- name: add_source
INSERT INTO sources (epoch, salvaged) VALUES (:epoch, :salvaged);

-- name: read_sources
SELECT epoch, salvaged FROM sources ORDER BY epoch;

-- name: head
SELECT seq, digest FROM records ORDER BY seq DESC LIMIT 1;

-- name: digest_at
SELECT digest FROM records WHERE seq = ?;

-- name: read_from
-- What the drain sends: stops early, so never a join, never a sort.
SELECT seq, data FROM records WHERE seq >= ? ORDER BY seq;

-- name: entries
SELECT seq, data, digest FROM records WHERE seq BETWEEN ? AND ? ORDER BY seq;

-- name: set_acked
-- Goes back too, when the cloud was restored from a backup. The time only goes forward.
UPDATE journal
SET acked = :acked, acked_digest = :digest, server_time_ms = max(server_time_ms, :server_time_ms);
