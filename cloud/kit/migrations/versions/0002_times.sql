-- When a weighing happened, as far as can be known: what its gateway's clock said stays in recorded_at.

ALTER TABLE weighings ADD COLUMN happened_at timestamptz;
ALTER TABLE weighings ADD COLUMN error_s integer CHECK (error_s >= 0);  -- NULL: only not after happened_at
ALTER TABLE weighings ADD COLUMN time_how smallint NOT NULL DEFAULT 0;  -- 0 received, 1 synced, 2 anchored, 3 bounded
UPDATE weighings SET happened_at = recorded_at, error_s = 16, time_how = 1
 WHERE clock = 3 AND recorded_at <= received_at + interval '16 s';
UPDATE weighings SET happened_at = received_at WHERE happened_at IS NULL;
ALTER TABLE weighings ALTER COLUMN happened_at SET DEFAULT now(), ALTER COLUMN happened_at SET NOT NULL;
CREATE INDEX weighings_happened ON weighings USING brin (happened_at);

-- What an hour of a boot's monotonic time showed. Offsets are milliseconds: UTC minus monotonic, of one instant.
-- `version` counts what came in, `repaired` is the version that weighings were last repaired with.
CREATE TABLE clock_hours (
    gateway_id text NOT NULL,
    journal bigint NOT NULL,               -- the epoch that delivered it
    epoch bigint NOT NULL,                 -- the epoch it was written in
    boot bigint NOT NULL,
    hour bigint NOT NULL,                  -- since boot
    first_seq bigint,                      -- its records, NULL: only frames left in this hour
    last_seq bigint,
    first_ms bigint NOT NULL,              -- monotonic
    last_ms bigint NOT NULL,
    shown_at_ms bigint,                    -- when the last frame left in this hour (monotonic),
    shown_ms bigint,                       -- the offset that the wall clock showed then
    synced_low_ms bigint,                  -- offsets that it showed records while it was synchronised
    synced_high_ms bigint,
    heard_ms bigint,                       -- the offset is not less, by the gateway's word: it had heard a signed time
    after_ms bigint,                       -- the offset is not less: the cloud had signed something by then
    before_ms bigint,                      -- nor more: it had arrived by then
    unsure boolean NOT NULL,               -- some of its records were written while the clock was not synchronised
    due_since timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    repaired bigint NOT NULL DEFAULT 0,
    low_ms bigint,                         -- what came out: the true offset lies between these
    high_ms bigint,
    trusted boolean,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (gateway_id, journal, epoch, boot, hour)
) WITH (fillfactor = 70);
CREATE INDEX clock_hours_due ON clock_hours (due_since) WHERE version <> repaired;
CREATE INDEX clock_hours_age ON clock_hours USING brin (updated_at);

-- A wall clock orders nothing: pickups are listed by their arrival, what is in them by its place in the journal.
ALTER TABLE pickups ADD COLUMN received_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX pickups_received ON pickups (received_at, id);
ALTER TABLE pickup_bins ADD COLUMN seq bigint NOT NULL DEFAULT 0;
UPDATE pickup_bins b SET seq = r.seq FROM records r WHERE (r.gateway_id, r.epoch, r.id) = (b.gateway_id, b.epoch, b.id);
ALTER TABLE custody_movements ADD COLUMN seq bigint NOT NULL DEFAULT 0;
UPDATE custody_movements m SET seq = r.seq FROM records r
 WHERE (r.gateway_id, r.epoch, r.id) = (m.gateway_id, m.epoch, m.id);
