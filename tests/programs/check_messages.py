"""Checks recorded messages against the protocol's schemas, with the protocol's own package for Python.

    check_messages.py FILE      a line a call: {"tool", "request", "answer", "is_error"}

Prints one JSON object: the release of the schemas, how many requests and answers were checked, how many requests were not because
they were refused unread, and what is invalid. Ends with 1 if anything is.

Everything is checked as of the latest release, whichever the buyer speaks:

- A request, unless it was refused as malformed or before anybody looked at it. Requests of the compliance controller that are of an
  older release are not: the gateway does not check them either, because their refusals are part of the tests.
- A request in release 3.0 without what that release alone had: see `brought_up`.
- An answer, by the arm that its status names. One in release 3.0 is first said again as it was before the gateway put it into that
  release's words: see `restored`, and docs/conformance.md.
- A task's result in a poll, as an answer of the task's tool.
- An error, by the schema of errors; and whole, if the tool's schema has an arm for errors. Where it has none, errors belong to the
  transport, and the protocol says nothing of the body around them.
"""

import json
import sys

from adcp.validation.schema_loader import get_bundle_adcp_version, get_named_validator, get_validator

LATEST = "3.2"
ALIASES = {"tasks_get": "get_task_status", "tasks/get": "get_task_status", "tasks_list": "list_tasks", "tasks/list": "list_tasks"}
CONTROLLER = "comply_test_controller"
MEDIA_BUYS = ("create_media_buy", "update_media_buy")
UNREAD = {"INVALID_REQUEST", "RATE_LIMITED", "UNSUPPORTED_FEATURE", "VALIDATION_ERROR", "VERSION_UNSUPPORTED"}
# An answer of each kind with nothing wrong about it: a schema that takes it has an arm for that kind.
ERROR = {"code": "INVALID_REQUEST", "message": "m", "recovery": "correctable"}
ARMS = {
    "failed": {"status": "failed", "adcp_error": ERROR, "errors": [ERROR]},
    "submitted": {"status": "submitted", "task_id": "t"},
}
SHOWN = 2_000


def brought_up(tool, request):
    """A request in release 3.0, as it would be in the latest."""
    if tool != "sync_governance":
        return request
    request = json.loads(json.dumps(request))
    for account in request.get("accounts", []):
        for agent in account.get("governance_agents", []):
            # What an agent is asked about. Since then it is everything.
            agent.pop("categories", None)
    return request


def restored(tool, answer):
    """An answer in release 3.0, as it was in the latest."""
    answer = dict(answer)
    if tool in MEDIA_BUYS:
        # In 3.0 the status of a success is the media buy's, and a purchase is answered with its key.
        if answer.get("media_buy_status") and answer.get("status") == answer["media_buy_status"]:
            answer["status"] = "completed"
        answer.pop("idempotency_key", None)
    result = answer.get("result")
    if tool == "get_task_status" and isinstance(result, dict):
        answer["result"] = restored(answer.get("task_type"), result)
    return answer


def errors_of(answer):
    errors = answer.get("errors")
    errors = errors if isinstance(errors, list) else []
    return errors + [answer[name] for name in ("adcp_error",) if name in answer]


def meant(error):
    """Of alternatives, what is wrong with the one that was meant: with the right constants, and the least wrong about it."""
    while error.context:
        alternatives = {}
        for reason in error.context:
            alternatives.setdefault(reason.schema_path[0], []).append(reason)
        error = min(
            alternatives.values(),
            key=lambda reasons: (sum(reason.validator in ("const", "enum") for reason in reasons), len(reasons)),
        )[0]
    return error


def wrong(validator, body):
    for error in map(meant, validator.iter_errors(body)):
        place = "/".join(map(str, error.absolute_path))
        yield f"/{place}: {error.message[:300]}"


def has_arm(validator, kind):
    return kind in ARMS and validator.is_valid(ARMS[kind])


def validators(tool, body, failed):
    """The schemas that a body has to be valid against; None: the protocol has no such tool."""
    whole = get_validator(tool, "sync", version=LATEST)
    if whole is None:
        return None
    if failed:
        return [whole] if not errors_of(body) or has_arm(whole, "failed") else []
    status = body.get("status")
    if status in ("submitted", "working", "input-required"):
        own = get_validator(tool, status, version=LATEST)
        found = [own] if own else []
        return found + [whole] if not found or has_arm(whole, status) else found
    return [whole]


def check_body(tool, body, failed):
    if not isinstance(body, dict):
        yield "no object"
        return
    found = validators(tool, body, failed)
    if found is None:
        yield "the protocol has no such tool"
        return
    for validator in found:
        yield from wrong(validator, body)
    error_schema = get_named_validator("core/error.json", version=LATEST)
    for error in errors_of(body):
        yield from (f"errors: {told}" for told in wrong(error_schema, error))


def check_answer(tool, answer, failed):
    yield from check_body(tool, answer, failed)
    result = answer.get("result") if isinstance(answer, dict) else None
    if tool == "get_task_status" and isinstance(result, dict):
        told = check_body(answer.get("task_type"), result, result.get("status") == "failed")
        yield from (f"result: {problem}" for problem in told)


def main(file):
    counts = {"requests": 0, "answers": 0, "unread": 0}
    invalid = []

    def note(number, tool, what, body, problems):
        problems = list(problems)
        if problems:
            shown = json.dumps(body)[:SHOWN]
            invalid.append({"line": number, "tool": tool, "what": what, "problems": problems, "body": shown})

    with open(file, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            call = json.loads(line)
            tool = ALIASES.get(call["tool"], call["tool"])
            request, answer, failed = call["request"], call["answer"], call["is_error"]
            said = answer if isinstance(answer, dict) else {}
            release = said.get("adcp_version", LATEST)
            codes = {error.get("code") for error in errors_of(said) if isinstance(error, dict)}
            if (failed and codes & UNREAD) or (tool == CONTROLLER and release != LATEST):
                counts["unread"] += 1
            else:
                counts["requests"] += 1
                schema = get_validator(tool, "request", version=LATEST)
                asked = brought_up(tool, request) if release == "3.0" else request
                problems = wrong(schema, asked) if schema else ["the protocol has no such tool"]
                note(number, tool, "request", request, problems)
            counts["answers"] += 1
            answer = restored(tool, answer) if release == "3.0" else answer
            note(number, tool, "answer", answer, check_answer(tool, answer, failed))
    adcp = get_bundle_adcp_version(version=LATEST)
    print(json.dumps({"adcp": adcp, **counts, "invalid": invalid}))
    return 1 if invalid else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
