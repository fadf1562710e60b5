-- With keys, these columns hold sealed texts, `$sealed$KEY$BASE64`: context_json, answer_json, decision, progress_json,
-- result_json, error_json, actor and reason of requests, and actor, reason and detail_json of request_history. Idempotency
-- keys are stored as digests. What was written before, in clear, is read as it is.

-- The webhook that a request registered, with its secrets; never in clear if it has any. NULL once nobody needs it.
ALTER TABLE requests ADD COLUMN webhook_json TEXT;
