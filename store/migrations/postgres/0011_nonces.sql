-- Nonces of signed requests that came, of all gateways: one must not come twice while its signature is good. Deleted when their time is
-- over.
CREATE TABLE nonces (
    keyid      TEXT COLLATE "C" NOT NULL,
    nonce      TEXT COLLATE "C" NOT NULL,
    -- Seconds since 1970.
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (keyid, nonce)
);
CREATE INDEX nonces_expires_at ON nonces (expires_at);
-- How many of a key's nonces expire within the same ten seconds, so that nobody has to count them.
CREATE TABLE nonce_counts (
    keyid      TEXT COLLATE "C" NOT NULL,
    -- The end of the ten seconds.
    expires_at BIGINT NOT NULL,
    nonces     BIGINT NOT NULL,
    PRIMARY KEY (keyid, expires_at)
);
CREATE INDEX nonce_counts_expires_at ON nonce_counts (expires_at);
