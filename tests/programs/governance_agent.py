"""A buyer's governance agent: a server of MCP's own package for Python, over TLS on this machine. What it is asked by the latest release is
checked by the protocol's package; its server is not used, because loading it takes a processor most of a minute.

Usage: governance_agent.py DIRECTORY CREDENTIALS [PORT]
Takes the certificate of DIRECTORY/server.pem, prints {"port": N}, and then one line for each check that it was asked for.

Plans are kept by sync_plans. A check is denied if it comes to more than the plan's budget or is in another currency, and has
conditions if a custom policy speaks of one of its channels. What an intent was approved for is known by the governance_context that it was
given. `ext.test` of a sync_plans says how the agent itself is to be: `slow_ms`, or `answer`: nonsense, error, huge or lapsed.
"""

import asyncio
import datetime
import json
import logging
import pathlib
import secrets
import socket
import sys

import uvicorn
from adcp.validation.schema_loader import get_validator
from mcp import types
from mcp.server.lowlevel import Server
from starlette.responses import JSONResponse

directory, credentials = pathlib.Path(sys.argv[1]), sys.argv[2]
wanted_port = int(sys.argv[3]) if len(sys.argv) > 3 else 0
plans, approvals = {}, {}


def later(minutes):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)).isoformat()


def told(**line):
    print(json.dumps(line), flush=True)


def amount(request):
    """What it comes to, in which currency, on which channels."""
    planned = request.get("planned_delivery")
    if planned is not None:
        return planned.get("total_budget", 0), planned.get("currency"), planned.get("channels", [])
    packages = request.get("payload", {}).get("packages", [])
    return sum(package.get("budget", 0) for package in packages), None, []


def ruling(request, plan):
    total, currency, channels = amount(request)
    budget = plan["budget"]
    if total > budget["total"] or currency not in (None, budget["currency"]):
        finding = {
            "category_id": "budget_authority",
            "severity": "critical",
            "explanation": f"{total} {currency} is more than the plan's {budget['total']} {budget['currency']}.",
        }
        return "denied", "The plan's budget does not allow it.", {"findings": [finding]}
    advice = [
        {"field": "planned_delivery.channels", "reason": policy["policy"]}
        for policy in plan.get("custom_policies", [])
        for channel in channels
        if channel in policy["policy"].lower()
    ]
    if advice:
        return "conditions", "A policy asks for more.", {"conditions": advice, "expires_at": later(60)}
    return "approved", "It is within the plan.", {"expires_at": later(60)}


def asked_for(request):
    """The plan: by its id, or by the context of what was approved before."""
    context = request.get("governance_context")
    if context is None:
        return request.get("plan_id")
    plan_id = approvals.get(context)
    return plan_id if request.get("plan_id") in (None, plan_id) else None


async def get_adcp_capabilities(request):
    adcp = {"major_versions": [3], "idempotency": {"supported": False}}
    return {"status": "completed", "adcp": adcp, "supported_protocols": ["governance"]}


async def sync_plans(request):
    test = (request.get("ext") or {}).get("test", {})
    for plan in request["plans"]:
        plans[plan["plan_id"]] = {**plan, "test": test}
    return {"plans": [{"plan_id": plan["plan_id"], "status": "active", "version": 1} for plan in request["plans"]]}


async def check_governance(request):
    plan_id = asked_for(request)
    plan = plans.get(plan_id)
    told(check=request)
    if "adcp_version" in request:
        CHECK.validate(request)
    if plan is None:
        raise ValueError("there is no such plan")
    test = plan["test"]
    await asyncio.sleep(test.get("slow_ms", 0) / 1000)
    match test.get("answer"):
        case "nonsense":
            return {"verdict": "perhaps", "check_id": 7}
        case "error":
            raise RuntimeError("the agent is out of order")
        case "huge":
            return {"verdict": "approved", "check_id": "c", "explanation": "x" * 1_000_000}
    verdict, explanation, more = ruling(request, plan)
    # 3.0 has no room for what came later.
    shape = "status" if "adcp_version" not in request and "target_agent" not in request else "verdict"
    answer = {"check_id": f"check_{secrets.token_hex(8)}", shape: verdict, "explanation": explanation, **more}
    if shape == "status":
        answer["plan_id"] = plan_id
    else:
        answer["check_type"] = "execution" if "planned_delivery" in request else "intent"
    if verdict == "approved" or (verdict == "conditions" and shape == "status"):
        answer["governance_context"] = f"context_{secrets.token_hex(16)}"
        approvals[answer["governance_context"]] = plan_id
    if test.get("answer") == "lapsed":
        answer["expires_at"] = later(-1)
    return answer


CHECK = get_validator("check_governance", "request", version="3.2")
TOOLS = {tool.__name__: tool for tool in (get_adcp_capabilities, sync_plans, check_governance)}


async def list_tools(context, params):
    return types.ListToolsResult(tools=[types.Tool(name=name, input_schema={"type": "object"}) for name in TOOLS])


async def call_tool(context, params):
    try:
        answer = await TOOLS[params.name](params.arguments or {})
    except Exception as error:
        content = [types.TextContent(type="text", text=str(error))]
        return types.CallToolResult(content=content, is_error=True)
    content = [types.TextContent(type="text", text=json.dumps(answer))]
    return types.CallToolResult(content=content, structured_content=answer)


def guarded(app):
    async def guard(scope, receive, send):
        bearer = dict(scope.get("headers", [])).get(b"authorization", b"").decode()
        if scope["type"] == "http" and bearer != f"Bearer {credentials}":
            return await JSONResponse({"error": "unauthorized"}, status_code=401)(scope, receive, send)
        await app(scope, receive, send)

    return guard


logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", wanted_port))
port = listener.getsockname()[1]
mcp = Server("governance", on_list_tools=list_tools, on_call_tool=call_tool)
config = uvicorn.Config(
    guarded(mcp.streamable_http_app()),
    ssl_certfile=directory / "server.pem",
    log_level="warning",
)
listener.listen()
told(port=port)
asyncio.run(uvicorn.Server(config).serve([listener]))
