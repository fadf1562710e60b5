-- Lists by index whatever statuses they ask for, and in every order for every viewer. An index begins with whose tasks these are,
-- goes on with a name, and then with a time: it finds the tasks of that name in the order of that time, however few they are. That of
-- names and creation is the order by that name, too. Several names are walked each by itself and merged; without a filter on
-- statuses, the order of updates is that of all nine merged.
--
-- What the predicates say of `sandbox` is always true, as what they said of `version` was: it keeps one viewer's index out of
-- another's plans. But it never changes, and SQLite writes to an index whenever a column of its predicate does.
DROP INDEX requests_buyer_updated_at;
DROP INDEX requests_buyer_status;
DROP INDEX requests_buyer_task_type;
DROP INDEX requests_buyer_protocol;
DROP INDEX requests_scope_created_at;
DROP INDEX requests_scope_updated_at;
DROP INDEX requests_all_created_at;
DROP INDEX requests_all_updated_at;

CREATE INDEX requests_buyer_updated_at ON requests (scope, principal, task_status, updated_at, task_id) WHERE visible;
CREATE INDEX requests_buyer_status ON requests (scope, principal, task_status, created_at, task_id) WHERE visible;
CREATE INDEX requests_buyer_task_type ON requests (scope, principal, verb, created_at, task_id) WHERE visible;
CREATE INDEX requests_buyer_protocol ON requests (scope, principal, protocol, created_at, task_id) WHERE visible;

CREATE INDEX requests_scope_created_at ON requests (scope, created_at, task_id) WHERE visible AND sandbox >= FALSE;
CREATE INDEX requests_scope_updated_at ON requests (scope, task_status, updated_at, task_id)
    WHERE visible AND sandbox >= FALSE;
CREATE INDEX requests_scope_status ON requests (scope, task_status, created_at, task_id)
    WHERE visible AND sandbox >= FALSE;
CREATE INDEX requests_scope_task_type ON requests (scope, verb, created_at, task_id) WHERE visible AND sandbox >= FALSE;
CREATE INDEX requests_scope_protocol ON requests (scope, protocol, created_at, task_id)
    WHERE visible AND sandbox >= FALSE;

CREATE INDEX requests_all_created_at ON requests (created_at, task_id) WHERE visible AND sandbox <= TRUE;
CREATE INDEX requests_all_updated_at ON requests (task_status, updated_at, task_id) WHERE visible AND sandbox <= TRUE;
CREATE INDEX requests_all_status ON requests (task_status, created_at, task_id) WHERE visible AND sandbox <= TRUE;
CREATE INDEX requests_all_task_type ON requests (verb, created_at, task_id) WHERE visible AND sandbox <= TRUE;
CREATE INDEX requests_all_protocol ON requests (protocol, created_at, task_id) WHERE visible AND sandbox <= TRUE;
