-- The release of the protocol that a request is of, which its task is told in, too. NULL: it was claimed before this was recorded, and
-- its task is told as of 3.2, the only release that there was for tasks then.
ALTER TABLE requests ADD COLUMN adcp_version TEXT;
-- The full response that the buyer is told of, where the words of that release are others than the result's: written by the transaction
-- that ends the task, sealed with keys, and never changed. NULL: what `result_json` makes.
ALTER TABLE requests ADD COLUMN told_json TEXT;
