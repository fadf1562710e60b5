"""Decides on a waiting task from outside: plain JSON, and nothing of Handoff.

    complete.py ADDRESS NAMESPACE WORKFLOW_ID signal complete '{"media_buy_id": "mb_1"}'
    complete.py ADDRESS NAMESPACE WORKFLOW_ID signal fail '{"code": "POLICY_VIOLATION", "message": "no"}'
    complete.py ADDRESS NAMESPACE WORKFLOW_ID update resolve '{"result": {"media_buy_id": "mb_1"}, "actor": "ann"}'

A signal is durable and says nothing; the update answers once the task is settled, and its answer is printed.
"""

import asyncio
import json
import os
import sys
import traceback

from temporalio.client import Client


async def main(address: str, namespace: str, workflow_id: str, way: str, name: str, text: str) -> None:
    client = await Client.connect(address, namespace=namespace)
    run = client.get_workflow_handle(workflow_id)
    payload = json.loads(text)
    if way == "signal":
        await run.signal(name, payload)
    else:
        print(json.dumps(await run.execute_update(name, payload)))


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    status = 0
    try:
        asyncio.run(main(*sys.argv[1:]))
    except Exception:
        traceback.print_exc()
        status = 1
    # temporalio's native threads may still let go of Python objects while the interpreter is torn down, which now and then
    # crashes a program that ends right after its last call (temporalio/sdk-python#300). So it is not torn down.
    sys.stdout.flush()
    os._exit(status)
