-- The ledger of proposals. Times are microseconds since 1970 (UTC). That a proposal has expired follows from `expires_at`.
CREATE TABLE proposals (
    -- The account that it was offered to; where the request named none, the scope of agent and brand, by which an account of
    -- the same agent and brand adopts it when it buys it.
    scope                   TEXT COLLATE "C" NOT NULL,
    principal               TEXT COLLATE "C" NOT NULL,
    proposal_id             TEXT COLLATE "C" NOT NULL,
    kind                    TEXT COLLATE "C" NOT NULL
        CHECK (kind IN ('new_media_buy', 'media_buy_update', 'media_buy_cancellation')),
    state                   TEXT COLLATE "C" NOT NULL
        CHECK (state IN ('draft', 'committed', 'consuming', 'consumed', 'declined')),
    -- As the seller offered it; sealed, with keys.
    body_json               TEXT NOT NULL,
    terms_digest            TEXT,
    expires_at              BIGINT,
    io_id                   TEXT,
    parent_proposal_id      TEXT,
    base_media_buy_id       TEXT COLLATE "C",
    base_media_buy_revision BIGINT,
    -- The task that has reserved or bought it, and that task's scope.
    held_by                 TEXT COLLATE "C",
    buyer_scope             TEXT COLLATE "C",
    media_buy_id            TEXT COLLATE "C",
    media_buy_revision      BIGINT,
    accepted_at             BIGINT,
    created_at              BIGINT NOT NULL,
    updated_at              BIGINT NOT NULL,
    -- Counts its transitions, as its history does.
    version                 BIGINT NOT NULL,
    PRIMARY KEY (scope, principal, proposal_id),
    CHECK ((state IN ('consuming', 'consumed')) = (held_by IS NOT NULL)),
    CHECK ((state IN ('consuming', 'consumed')) = (buyer_scope IS NOT NULL)),
    CHECK ((state = 'consumed') = (media_buy_id IS NOT NULL))
);

-- One proposal made a media buy; any number may have changed it since.
CREATE UNIQUE INDEX proposals_media_buy ON proposals (buyer_scope, media_buy_id)
    WHERE kind = 'new_media_buy' AND media_buy_id IS NOT NULL;
-- One change of a media buy at a time.
CREATE UNIQUE INDEX proposals_changing ON proposals (buyer_scope, base_media_buy_id)
    WHERE state = 'consuming' AND base_media_buy_id IS NOT NULL;
CREATE INDEX proposals_accepted ON proposals (buyer_scope, media_buy_id, accepted_at) WHERE state = 'consumed';
CREATE INDEX proposals_held ON proposals (held_by) WHERE state = 'consuming';
CREATE INDEX proposals_id ON proposals (proposal_id, scope, principal);

-- Lists of what is being bought, and what a sweep looks for.
CREATE INDEX proposals_consuming ON proposals (scope, principal, proposal_id) WHERE state = 'consuming';
CREATE INDEX proposals_drafts ON proposals (updated_at) WHERE state = 'draft';
CREATE INDEX proposals_expiring ON proposals (expires_at)
    WHERE state IN ('draft', 'committed') AND expires_at IS NOT NULL;
CREATE INDEX proposals_idle ON proposals (updated_at)
    WHERE state = 'declined' OR (state = 'committed' AND expires_at IS NULL);

-- What happened to each proposal; append-only, one entry for each version.
CREATE TABLE proposal_history (
    scope       TEXT COLLATE "C" NOT NULL,
    principal   TEXT COLLATE "C" NOT NULL,
    proposal_id TEXT COLLATE "C" NOT NULL,
    version     BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    event       TEXT NOT NULL,
    task_id     TEXT,
    -- Sealed, with keys.
    actor       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    PRIMARY KEY (scope, principal, proposal_id, version),
    FOREIGN KEY (scope, principal, proposal_id) REFERENCES proposals (scope, principal, proposal_id) ON DELETE CASCADE
);

-- The proposal that a request buys, and what has to be true of it, as JSON; sealed, with keys.
ALTER TABLE requests ADD COLUMN proposal_json TEXT;
