-- The governance agent of an account, which is asked before a purchase for it is decided: at most one.
CREATE TABLE governance_agents (
    scope       TEXT PRIMARY KEY NOT NULL,
    -- The agent that named it last.
    principal   TEXT NOT NULL,
    url         TEXT NOT NULL,
    -- What it is called with; sealed, always.
    credentials TEXT NOT NULL,
    sandbox     BOOLEAN NOT NULL
);
