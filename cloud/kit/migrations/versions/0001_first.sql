-- The first schema. Ids are UUIDs made outside unless said; grams and points are integers; times are UTC.
-- The tables every weighing writes to (records, deposits, weighings, transfers, events) carry no foreign keys
-- and as few indexes as their promises need: each one is paid for by every weighing for ever.

-- sites and gateways ------------------------------------------------------------------------------------

CREATE TABLE drop_points (
    id uuid PRIMARY KEY,
    code text NOT NULL UNIQUE,
    name text NOT NULL,
    latitude double precision,
    longitude double precision,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE gateways (
    id text PRIMARY KEY,
    drop_point_id uuid REFERENCES drop_points,
    state text NOT NULL DEFAULT 'created' CHECK (state IN ('created', 'claimed', 'revoked')),
    name text,
    code_hash bytea,                       -- secret of the one-time code; once used, of the code and its user's key
    code_expires_at timestamptz,
    broker_password_hash text,             -- as mosquitto writes it: $7$…
    created_at timestamptz NOT NULL DEFAULT now(),
    claimed_at timestamptz,
    revoked_at timestamptz,
    last_seen_at timestamptz,
    birth jsonb
) WITH (fillfactor = 70);

CREATE INDEX gateways_code ON gateways (code_hash) WHERE code_hash IS NOT NULL;

CREATE TABLE gateway_keys (
    key_id bytea PRIMARY KEY,
    gateway_id text NOT NULL REFERENCES gateways,
    public_key bytea NOT NULL CHECK (length(public_key) = 32),
    valid_from timestamptz NOT NULL DEFAULT now(),
    valid_to timestamptz
);
CREATE INDEX gateway_keys_gateway ON gateway_keys (gateway_id);

-- what gateways delivered -------------------------------------------------------------------------------

CREATE TABLE cursors (
    gateway_id text NOT NULL,
    epoch bigint NOT NULL,
    through bigint NOT NULL,
    digest bytea NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),  -- closed: found forked
    opened_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (gateway_id, epoch)
) WITH (fillfactor = 50);

-- Every record as signed, for ever. A carried record stands under its original epoch and seq.
CREATE TABLE records (
    gateway_id text NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    id uuid NOT NULL,
    kind smallint NOT NULL,                -- wire code; 0: could not be read
    received_at timestamptz NOT NULL,
    digest bytea NOT NULL,
    data bytea NOT NULL,
    carried_epoch bigint,                  -- the epoch and seq that carried it here, if another
    carried_seq bigint,
    PRIMARY KEY (gateway_id, epoch, seq, id)
);

CREATE TABLE gaps (
    gateway_id text NOT NULL,
    epoch bigint NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (gateway_id, epoch, first)
);

CREATE TABLE alarms (
    id uuid PRIMARY KEY,
    gateway_id text,
    code text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    raised_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz
);
CREATE INDEX alarms_open ON alarms (raised_at) WHERE resolved_at IS NULL;

CREATE TABLE quarantine (
    id uuid PRIMARY KEY,                   -- the record's id
    gateway_id text NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    code text NOT NULL,
    message text NOT NULL,
    data bytea NOT NULL,
    pending boolean NOT NULL DEFAULT false, -- carried out of a forked epoch: credit only as pending
    state text NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'retried', 'rejected')),
    held_at timestamptz NOT NULL DEFAULT now(),
    decided_at timestamptz,
    decided_by text,
    reason text
);
CREATE INDEX quarantine_held ON quarantine (gateway_id, epoch, seq) WHERE state = 'held';

-- What nobody known signed. Bounded: one row per gateway, road, code and hour.
CREATE TABLE refusals (
    id uuid PRIMARY KEY,
    gateway_id text NOT NULL DEFAULT '',
    road text NOT NULL,
    code text NOT NULL,
    hour timestamptz NOT NULL,
    detail text NOT NULL,
    sample bytea CHECK (length(sample) <= 8192),
    count bigint NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (gateway_id, road, code, hour)
);

-- materials, rates, documents ---------------------------------------------------------------------------

CREATE TABLE materials (
    code text PRIMARY KEY,
    name_en text NOT NULL,
    name_ne text NOT NULL,
    picture text NOT NULL DEFAULT '',
    active boolean NOT NULL DEFAULT true
);

CREATE TABLE rates (
    material text NOT NULL REFERENCES materials,
    version integer NOT NULL,
    points_per_kg bigint NOT NULL CHECK (points_per_kg >= 0),
    valid_from timestamptz NOT NULL,
    PRIMARY KEY (material, version)
);

CREATE TABLE documents (
    name text NOT NULL,
    generation bigint NOT NULL,
    version bigint NOT NULL,
    digest bytea NOT NULL,
    data bytea NOT NULL,
    issued_at timestamptz NOT NULL,
    PRIMARY KEY (name, generation, version)
);
CREATE UNIQUE INDEX documents_digest ON documents (digest);

-- people ------------------------------------------------------------------------------------------------

CREATE TABLE citizens (
    id uuid PRIMARY KEY,
    pseudonym bytea NOT NULL UNIQUE CHECK (length(pseudonym) = 8),
    alias text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE cards (
    serial bytea PRIMARY KEY CHECK (length(serial) = 9),
    citizen_id uuid NOT NULL REFERENCES citizens,
    role smallint NOT NULL DEFAULT 0,
    issued_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    text text NOT NULL,
    token_hash bytea UNIQUE
);
CREATE INDEX cards_citizen ON cards (citizen_id);

CREATE TABLE tags (
    raw bytea PRIMARY KEY,
    citizen_id uuid NOT NULL REFERENCES citizens
);

-- visits and weighings ----------------------------------------------------------------------------------

CREATE TABLE deposits (
    id uuid PRIMARY KEY,                   -- of the record deposit.opened
    gateway_id text NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    holder_kind smallint NOT NULL,
    holder bytea NOT NULL,
    account_id uuid NOT NULL,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    outcome text
) WITH (fillfactor = 90);

CREATE TABLE weighings (
    id uuid PRIMARY KEY,                   -- of the record: what makes a credit happen once
    gateway_id text NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    deposit_seq bigint NOT NULL,
    drop_point_id uuid,
    account_id uuid NOT NULL,
    material text NOT NULL,
    gross_g bigint NOT NULL,
    tare_g bigint NOT NULL,
    net_g bigint NOT NULL CHECK (net_g >= 0),
    points_per_kg bigint NOT NULL,         -- the rate of the weighing, frozen
    points bigint NOT NULL CHECK (points >= 0),   -- credited
    points_shown bigint,                   -- NULL: the kiosk said "points follow"
    recorded_at timestamptz NOT NULL,      -- as the gateway's clock said; see clock
    received_at timestamptz NOT NULL,
    boot bigint NOT NULL,
    mono_ms bigint NOT NULL,
    clock smallint NOT NULL,
    tare_kind smallint NOT NULL,
    holder_kind smallint NOT NULL,
    holder bytea NOT NULL,
    late_catalog boolean NOT NULL,
    manual boolean NOT NULL,
    pending boolean NOT NULL DEFAULT false, -- out of a forked epoch: credited when released
    voided_by uuid
) WITH (fillfactor = 95);
CREATE INDEX weighings_received ON weighings USING brin (received_at);

CREATE TABLE pickups (
    id uuid PRIMARY KEY,                   -- of the record pickup.opened
    gateway_id text NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    drop_point_id uuid,
    collector bytea NOT NULL,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    outcome text,
    bins integer,
    net_g bigint
);
CREATE INDEX pickups_place ON pickups (gateway_id, epoch, seq);

CREATE TABLE bins (
    code text PRIMARY KEY,
    drop_point_id uuid REFERENCES drop_points,
    material text REFERENCES materials
);

CREATE TABLE pickup_bins (
    id uuid PRIMARY KEY,                   -- of the record bin.weighed or bin.estimated
    gateway_id text NOT NULL,
    epoch bigint NOT NULL,
    pickup_seq bigint NOT NULL,
    bin text NOT NULL,
    material text NOT NULL,                -- '' when the bin is not registered
    gross_g bigint,
    tare_g bigint,
    net_g bigint NOT NULL,
    estimated boolean NOT NULL,
    emptied boolean NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX pickup_bins_pickup ON pickup_bins (gateway_id, epoch, pickup_seq);

-- Parties are `drop-point:<uuid>`, `gateway:<id>` where no drop point is known, or `card:<pseudonym hex>`.
CREATE TABLE custody_movements (
    id uuid PRIMARY KEY,                   -- of the record that moved the kilos
    gateway_id text NOT NULL,
    epoch bigint NOT NULL,
    pickup_seq bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('collected', 'handed_over')),
    giver text NOT NULL,
    taker text NOT NULL,
    net_g bigint NOT NULL,
    estimated boolean NOT NULL,
    lines jsonb NOT NULL,                  -- {material: grams}
    at timestamptz NOT NULL
);

CREATE TABLE custody_balances (
    party text NOT NULL,
    material text NOT NULL,
    net_g bigint NOT NULL,
    PRIMARY KEY (party, material)
) WITH (fillfactor = 50);

-- the ledger --------------------------------------------------------------------------------------------

-- The same ids that `cloud.kit.ids.derived_id` makes.
CREATE FUNCTION derived_id(domain text, VARIADIC parts bytea[]) RETURNS uuid IMMUTABLE STRICT PARALLEL SAFE
LANGUAGE sql AS $$
    SELECT encode(set_byte(set_byte(h, 6, get_byte(h, 6) & 15 | 128), 8, get_byte(h, 8) & 63 | 128), 'hex')::uuid
      FROM (SELECT substr(sha256(convert_to(domain, 'UTF8') || string_agg(int4send(length(part)) || part, ''::bytea
                                                                      ORDER BY number)), 1, 16) AS h
              FROM unnest(parts) WITH ORDINALITY AS _(part, number)) AS hashed
$$;
CREATE FUNCTION account_id(kind text, key bytea) RETURNS uuid IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql AS
$$ SELECT derived_id('reloop/account/1', convert_to(kind, 'UTF8'), key) $$;

-- `balance`: credits - debits for citizen and holding, debits - credits for receivable; the issuer keeps none,
-- because one hot row would make every credit wait for every other.
CREATE TABLE accounts (
    id uuid PRIMARY KEY,                   -- derived from kind and key
    kind text NOT NULL CHECK (kind IN ('issuer', 'citizen', 'receivable', 'holding')),
    key bytea NOT NULL,
    citizen_id uuid REFERENCES citizens,
    balance bigint NOT NULL DEFAULT 0 CHECK (balance >= 0),
    heir uuid REFERENCES accounts,         -- of a holding: the account that claimed it
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, key)
) WITH (fillfactor = 50);
INSERT INTO accounts (id, kind, key) VALUES (account_id('issuer', 'points'), 'issuer', 'points');
CREATE INDEX accounts_due ON accounts (key) WHERE kind = 'receivable' AND balance > 0;
CREATE INDEX accounts_citizen ON accounts (citizen_id) WHERE citizen_id IS NOT NULL;

-- Never updated, never deleted. A pending transfer moves nothing; the one that `resolves` it does, or voids it.
CREATE TABLE transfers (
    id uuid PRIMARY KEY,                   -- derived from source and code
    number bigint GENERATED ALWAYS AS IDENTITY (CACHE 100),
    debit uuid NOT NULL,
    credit uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    code smallint NOT NULL,
    state text NOT NULL CHECK (state IN ('posted', 'pending', 'void')),
    source uuid NOT NULL,
    resolves uuid,
    created_at timestamptz NOT NULL,
    CHECK (debit <> credit)
);
CREATE INDEX transfers_credit ON transfers (credit, number);
CREATE INDEX transfers_debit ON transfers (debit, number) WHERE code <> 1;  -- 1: awards, all of them the issuer's
CREATE UNIQUE INDEX transfers_resolves ON transfers (resolves) WHERE resolves IS NOT NULL;
CREATE INDEX transfers_pending ON transfers (credit) WHERE state = 'pending';

CREATE TABLE claims (
    hash bytea PRIMARY KEY,
    account_id uuid NOT NULL,
    deposit_id uuid,
    claimed_by uuid REFERENCES citizens,
    claimed_at timestamptz
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$;
CREATE TRIGGER transfers_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER records_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON records
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- events ------------------------------------------------------------------------------------------------

-- Read in the order (xid, id) and only where xid < pg_snapshot_xmin(pg_current_snapshot()):
-- ids commit out of order, finished transactions do not.
CREATE TABLE events (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint GENERATED ALWAYS AS IDENTITY (CACHE 100),
    type text NOT NULL,
    key text NOT NULL,
    payload jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (xid, id)
);

CREATE TABLE event_cursors (
    consumer text PRIMARY KEY,
    xid xid8 NOT NULL,
    id bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- access ------------------------------------------------------------------------------------------------

CREATE TABLE operator_tokens (
    hash bytea PRIMARY KEY,
    label text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE idempotency (
    principal text NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    status integer,
    body bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, route, key)
);
CREATE INDEX idempotency_age ON idempotency (created_at);
