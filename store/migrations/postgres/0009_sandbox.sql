-- Which requests and proposals are of a sandbox account: those alone may be forgotten when it is reset. What was recorded before
-- this migration counts as live.
ALTER TABLE requests ADD COLUMN sandbox BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE proposals ADD COLUMN sandbox BOOLEAN NOT NULL DEFAULT FALSE;

CREATE INDEX requests_sandbox ON requests (scope, task_id) WHERE sandbox;
