-- Tombstones, the oldest first: they are deleted when they are old enough, and there may be more of them than of anything.
CREATE INDEX requests_tombstones ON requests (updated_at, task_id) WHERE claim_state = 'purged';
