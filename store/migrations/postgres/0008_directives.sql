-- How the next request of an agent in a sandbox account is answered, at the wish of the compliance controller: used up by that
-- request. At most one row for an account, agent and verb.
CREATE TABLE directives (
    scope         TEXT COLLATE "C" NOT NULL,
    principal     TEXT COLLATE "C" NOT NULL,
    verb          TEXT COLLATE "C" NOT NULL,
    -- The task id that the request gets.
    task_id       TEXT NOT NULL,
    -- Tells it from those before and after it.
    directive_id  TEXT NOT NULL,
    -- A handoff.v1.Decision as protobuf-JSON; sealed, with keys.
    decision_json TEXT NOT NULL,
    PRIMARY KEY (scope, principal, verb)
);
