-- A request whose handler is called outside any workflow: until when its caller has it, and whether the handler may be called
-- again after that, with the same token. NULL: a workflow has it.
ALTER TABLE requests ADD COLUMN lease_until BIGINT;
ALTER TABLE requests ADD COLUMN rerunnable BOOLEAN NOT NULL DEFAULT FALSE;
