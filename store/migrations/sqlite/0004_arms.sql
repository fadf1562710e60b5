-- How each request is or was answered, for whoever counts: undecided, sync, task, workflow or late. Follows from the journal and
-- `visible`, as `unfinished` does.
ALTER TABLE requests ADD COLUMN arm TEXT NOT NULL DEFAULT 'undecided';

UPDATE requests SET arm = CASE
    WHEN decision LIKE '{"handoffToTask"%' THEN 'task'
    WHEN decision LIKE '{"handoffToWorkflow"%' THEN 'workflow'
    WHEN visible THEN 'late'
    WHEN decision LIKE '{"complete"%' OR decision LIKE '{"refuse"%' THEN 'sync'
    ELSE 'undecided'
END
WHERE decision IS NOT NULL OR visible;

-- What is open, counted from the index alone. SQLite reads the row for a column of the condition, unless the index has it.
CREATE INDEX requests_open ON requests (verb, arm, task_status, visible, created_at, unfinished) WHERE unfinished;
