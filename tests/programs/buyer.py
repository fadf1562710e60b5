"""A buyer's agent with the protocol's own Python client, unmodified.

Reads calls from stdin, one JSON object a line: {"call": "create_media_buy", "request": {…}}. Prints for each what the client made
of the answer, one JSON object a line.

    buyer.py URL        the API key is in BUYER_API_KEY
"""

import asyncio
import json
import os
import sys
import typing

import deferred_models  # noqa: F401: before the protocol's package
from adcp import ADCPClient, AgentConfig, Protocol


def plain(value):
    """A client's model as JSON has it."""
    return value.model_dump(mode="json", exclude_none=True) if hasattr(value, "model_dump") else value


async def answer(client, call, request):
    method = getattr(client, call)
    request_type = typing.get_type_hints(method).get("request")
    try:
        result = await (method(request_type.model_validate(request)) if request_type else method())
    except Exception as error:  # noqa: BLE001: whatever it is, the test wants to see it
        return {"raised": type(error).__name__, "message": str(error)}
    return {
        "status": result.status.value,
        "success": result.success,
        "data": plain(result.data),
        "error": result.error,
        "adcp_error": result.adcp_error,
        "replayed": result.replayed,
        "idempotency_key": result.idempotency_key,
    }


async def main(url):
    agent = AgentConfig(id="seller", agent_uri=url, protocol=Protocol.MCP, auth_token=os.environ["BUYER_API_KEY"])
    async with ADCPClient(agent) as client:
        print(json.dumps({"ready": True}), flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            order = json.loads(line)
            print(json.dumps(await answer(client, order["call"], order.get("request", {}))), flush=True)


asyncio.run(main(sys.argv[1]))
