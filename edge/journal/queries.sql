-- Every statement the journal runs, by name. `:name` parameters are bound, never formatted in.

-- name: insert_record
-- One row of the chain; its transaction is what "saved" means.
INSERT INTO records (seq, data, digest) VALUES (?, ?, ?);

-- name: begin_log_anew
-- Changes nothing and writes a page: an emptied log that begins anew, synced, cannot bring back what was in it.
BEGIN IMMEDIATE;
INSERT INTO quarantined (seq, code) VALUES (-1, '');
DELETE FROM quarantined WHERE seq = -1;
COMMIT;

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
-- Casts, here and below: one flipped bit can turn a blob into text that is no UTF-8, or into nothing.
SELECT seq, ifnull(CAST(digest AS BLOB), x'') FROM records ORDER BY seq DESC LIMIT 1;

-- name: digest_at
SELECT ifnull(CAST(digest AS BLOB), x'') FROM records WHERE seq = ?;

-- name: read_from
-- What the drain sends: stops early, so never a join, never a sort.
SELECT seq, ifnull(CAST(data AS BLOB), x''), ifnull(CAST(digest AS BLOB), x'')
FROM records WHERE seq >= ? ORDER BY seq;

-- name: entries
SELECT seq, ifnull(CAST(data AS BLOB), x''), ifnull(CAST(digest AS BLOB), x'')
FROM records WHERE seq BETWEEN ? AND ? ORDER BY seq;

-- name: set_acked
-- Goes back too, when the cloud was restored from a backup. The time only goes forward.
UPDATE journal
SET acked = :acked, acked_digest = :digest, server_time_ms = max(server_time_ms, :server_time_ms);

-- name: note_ack
-- One row an hour at most: all up to `through` was acknowledged before that hour ended.
INSERT INTO acks (hour, through) VALUES (:hour, :through)
ON CONFLICT (hour) DO UPDATE SET through = excluded.through;

-- name: forget_acks_beyond
DELETE FROM acks WHERE through > :through;

-- name: acked_before
SELECT max(through) FROM acks WHERE hour < ?;

-- name: note_quarantined
INSERT INTO quarantined (seq, code) VALUES (:seq, :code) ON CONFLICT (seq) DO UPDATE SET code = excluded.code;

-- name: read_quarantined
SELECT seq, code FROM quarantined ORDER BY seq;

-- name: set_anchor
-- Before the rows go, what they added up to stays.
UPDATE journal
SET anchor_digest = (SELECT digest FROM records WHERE seq = :seq), anchor_seq = :seq
WHERE anchor_seq < :seq;

-- name: prune_records
DELETE FROM records WHERE seq <= :seq;

-- name: prune_acks
DELETE FROM acks WHERE through < :seq;

-- name: prune_quarantined
DELETE FROM quarantined WHERE seq <= :seq;

-- name: settle
-- All that this file held is acknowledged, here or carried in a later epoch.
UPDATE journal SET settled_ms = :server_time_ms WHERE settled_ms IS NULL;

-- name: salvage_table
-- In a file of its own, so that memory does not bound what can be saved. A torn page may show the right digest
-- behind wrong data, so that data is part of the key.
CREATE TABLE found (seq INTEGER, digest BLOB, stale INTEGER, data BLOB, PRIMARY KEY (seq, stale, digest, data)) WITHOUT ROWID;

-- name: salvage_row
INSERT OR IGNORE INTO found (seq, digest, stale, data) VALUES (?, ?, ?, ?);

-- name: salvaged_rows
SELECT seq, data, digest FROM found WHERE seq > ? ORDER BY seq, stale;

-- name: salvaged_digest
SELECT 1 FROM found WHERE seq = ? AND digest = ?;

-- name: salvaged_last
SELECT ifnull(max(seq), 0) FROM found;
