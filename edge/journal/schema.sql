-- The journal of one epoch. Rows of `records` are written once and never changed; migrations only add.

CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    data BLOB NOT NULL,
    digest BLOB NOT NULL
) STRICT;

CREATE TABLE journal (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    gateway TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    reason TEXT NOT NULL,
    boot INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    carried_through INTEGER NOT NULL,
    anchor_seq INTEGER NOT NULL,
    anchor_digest BLOB NOT NULL,
    acked INTEGER NOT NULL,
    acked_digest BLOB NOT NULL,
    server_time_ms INTEGER NOT NULL,
    settled_ms INTEGER
) STRICT;

CREATE TABLE sources (
    epoch INTEGER PRIMARY KEY,
    salvaged INTEGER NOT NULL
) STRICT;

CREATE TABLE acks (
    hour INTEGER PRIMARY KEY,
    through INTEGER NOT NULL
) STRICT;

CREATE TABLE quarantined (
    seq INTEGER PRIMARY KEY,
    code TEXT NOT NULL
) STRICT;
