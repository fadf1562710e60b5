"""The Python peer of the benchmarks: the bare workflow of benches/src/bare.rs, under the same names.

    bench_worker.py ADDRESS TASK_QUEUE MAX_CACHED_WORKFLOWS

Without the sandbox, which would re-import modules for every run and measure that instead.
"""

import asyncio
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

ATTEMPT = timedelta(seconds=10)
DEADLINE = timedelta(days=7)


@dataclass
class BareInput:
    shape: str
    request: Any


@activity.defn(name="bare_decide")
async def decide(input: BareInput) -> Any:
    return {"shape": input.shape, "media_buy_id": "mb"}


@activity.defn(name="bare_work")
async def work(decision: Any) -> Any:
    return decision


@activity.defn(name="bare_record")
async def record(result: Any) -> Any:
    return result


def local(function: Any, argument: Any) -> Any:
    return workflow.execute_local_activity(
        function, argument, start_to_close_timeout=ATTEMPT, schedule_to_close_timeout=ATTEMPT
    )


@workflow.defn(name="bare")
class Bare:
    @workflow.init
    def __init__(self, input: BareInput) -> None:
        self.told: Any = None
        self.completion: Any = None

    @workflow.run
    async def run(self, input: BareInput) -> Any:
        decision = await local(decide, input)
        if input.shape == "task":
            self.told = "submitted"
            done = await workflow.execute_activity(work, decision, start_to_close_timeout=ATTEMPT)
            result = await local(record, done)
        elif input.shape == "workflow":
            taken = await workflow.execute_activity(work, decision, start_to_close_timeout=ATTEMPT)
            await local(record, taken)
            self.told = "submitted"
            await workflow.wait_condition(lambda: self.completion is not None, timeout=DEADLINE)
            result = await local(record, self.completion)
        else:
            self.told = result = decision
        await workflow.wait_condition(workflow.all_handlers_finished)
        return result

    @workflow.update
    async def outcome(self) -> Any:
        await workflow.wait_condition(lambda: self.told is not None)
        return self.told

    @workflow.signal
    def complete(self, result: Any) -> None:
        self.completion = result


async def main(address: str, task_queue: str, cache: str) -> None:
    client = await Client.connect(address)
    worker = Worker(
        client,
        task_queue=task_queue,
        workflows=[Bare],
        activities=[decide, work, record],
        max_cached_workflows=int(cache),
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    await worker.run()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
