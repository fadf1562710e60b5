-- What is, or was, to be sent to the webhook of a task that ended after `submitted` was said; written by the transaction that
-- ends it. The body is made and sealed when it is first sent, and then stays: every attempt sends the same bytes.
CREATE TABLE webhooks (
    task_id         TEXT NOT NULL PRIMARY KEY REFERENCES requests (task_id),
    state           TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'stopped', 'expired')),
    -- What receivers know the delivery by. A delivery past its horizon begins anew, with another key and body.
    idempotency_key TEXT NOT NULL,
    generation      BIGINT NOT NULL,
    body_json       TEXT,
    created_at      BIGINT NOT NULL,
    -- The horizon: nothing is sent under this key after it.
    expires_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);

CREATE INDEX webhooks_created_at ON webhooks (created_at, task_id);
CREATE INDEX webhooks_pending ON webhooks (created_at, task_id) WHERE state = 'pending';

-- Each attempt that is known of: one whose process died before it could say so is not.
CREATE TABLE webhook_attempts (
    task_id     TEXT NOT NULL REFERENCES webhooks (task_id),
    generation  BIGINT NOT NULL,
    number      BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    duration    BIGINT NOT NULL,
    http_status BIGINT,
    -- NULL: it arrived.
    error_class TEXT,
    PRIMARY KEY (task_id, generation, number)
);
