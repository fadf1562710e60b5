-- One row per request: its idempotency claim, its decision journal and its task. Times are microseconds since 1970 (UTC).
-- JSON bodies are TEXT, so that numbers and keys stay as they were written. Collation "C" orders
-- as SQLite does, whatever the database was created with.
CREATE TABLE requests (
    task_id         TEXT COLLATE "C" NOT NULL,
    scope           TEXT COLLATE "C" NOT NULL,
    principal       TEXT COLLATE "C" NOT NULL,
    verb            TEXT COLLATE "C" NOT NULL,
    protocol        TEXT COLLATE "C" NOT NULL,
    -- The claim. A released claim has no key: the key is free, the row stays as the anchor of its task id.
    idempotency_key TEXT COLLATE "C",
    request_hash    TEXT NOT NULL,
    context_json    TEXT,
    has_webhook     BOOLEAN NOT NULL,
    claim_state     TEXT NOT NULL CHECK (claim_state IN ('in_flight', 'answered', 'released', 'unknown', 'purged')),
    answer_status   TEXT,
    answer_json     TEXT,
    answered_at     BIGINT,
    -- When the claim ends: what was answered is not said again, and an ended request may be purged.
    expires_at      BIGINT,
    -- The journal: a handoff.v1.Decision as protobuf-JSON; NULL while it is open.
    decision        TEXT,
    decided_at      BIGINT,
    -- The task. One that is not visible is pending: nobody was told about it yet.
    task_status     TEXT COLLATE "C",
    visible         BOOLEAN NOT NULL,
    progress_json   TEXT,
    result_json     TEXT,
    error_json      TEXT,
    decision_id     TEXT,
    actor           TEXT,
    reason          TEXT,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    completed_at    BIGINT,
    -- Counts the writes to this row.
    version         BIGINT NOT NULL,
    -- Something is left to do: undecided, pending, or a visible task that has not ended. Follows from the columns above.
    unfinished      BOOLEAN NOT NULL
);

CREATE UNIQUE INDEX requests_task_id ON requests (task_id);
CREATE UNIQUE INDEX requests_idempotency_key ON requests (scope, principal, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- Maintenance.
CREATE INDEX requests_unfinished ON requests (task_id) WHERE unfinished;
CREATE INDEX requests_purgeable ON requests (updated_at, task_id) WHERE NOT unfinished AND claim_state <> 'purged';

-- Lists: one index per viewer and order, so that a page costs what its rows cost. What the predicates say of version is
-- always true. It keeps one viewer's index out of another's plans: an account's tasks, walked by the index of everybody's,
-- may begin after a million others.
CREATE INDEX requests_buyer_created_at ON requests (scope, principal, created_at, task_id) WHERE visible;
CREATE INDEX requests_buyer_updated_at ON requests (scope, principal, updated_at, task_id) WHERE visible;
CREATE INDEX requests_buyer_status ON requests (scope, principal, task_status, task_id) WHERE visible;
CREATE INDEX requests_buyer_task_type ON requests (scope, principal, verb, task_id) WHERE visible;
CREATE INDEX requests_buyer_protocol ON requests (scope, principal, protocol, task_id) WHERE visible;
CREATE INDEX requests_scope_created_at ON requests (scope, created_at, task_id)
    WHERE visible AND version >= 0;
CREATE INDEX requests_scope_updated_at ON requests (scope, updated_at, task_id)
    WHERE visible AND version >= 0;
CREATE INDEX requests_all_created_at ON requests (created_at, task_id)
    WHERE visible AND version >= 1;
CREATE INDEX requests_all_updated_at ON requests (updated_at, task_id)
    WHERE visible AND version >= 1;

-- What happened to each request; append-only. The key of an entry makes writing it again harmless.
CREATE TABLE request_history (
    task_id     TEXT COLLATE "C" NOT NULL REFERENCES requests (task_id),
    entry_key   TEXT COLLATE "C" NOT NULL,
    seq         BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    event       TEXT NOT NULL,
    status      TEXT NOT NULL,
    actor       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    detail_json TEXT NOT NULL,
    PRIMARY KEY (task_id, entry_key)
);

CREATE INDEX request_history_seq ON request_history (task_id, seq);
