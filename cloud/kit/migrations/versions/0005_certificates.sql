-- The broker lets gateways in by certificate; passwords are gone.

ALTER TABLE gateways DROP COLUMN broker_password_hash;
ALTER TABLE gateways ADD COLUMN csr bytea;             -- PKCS #10 in DER: for which TLS key it wants a certificate
ALTER TABLE gateways ADD COLUMN csr_key bytea;         -- SHA-256 of that public key: a request is signed anew each time
ALTER TABLE gateways ADD COLUMN csr_at timestamptz;

CREATE TABLE gateway_certificates (
    serial bytea PRIMARY KEY,              -- big-endian, without leading zeros
    gateway_id text NOT NULL REFERENCES gateways,
    key_digest bytea NOT NULL,             -- as gateways.csr_key
    certificate bytea NOT NULL,            -- DER
    issued_at timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    revoked_at timestamptz,                -- replaced by one for another key, or its gateway was revoked
    evicted_at timestamptz                 -- since when the broker is known to have no session of it
);
CREATE INDEX gateway_certificates_gateway ON gateway_certificates (gateway_id, key_digest);
