-- When the cloud had what, by the hours its acks sign; and what it could not apply, and why.

CREATE TABLE acks (
    hour INTEGER PRIMARY KEY,
    through INTEGER NOT NULL
) STRICT;

CREATE TABLE quarantined (
    seq INTEGER PRIMARY KEY,
    code TEXT NOT NULL
) STRICT;
