"""The Python peer of the front door's benchmarks: a seller on the protocol's own SDK, as that SDK serves it.

    bench_server.py PORT TOKEN PRODUCTS ACCOUNTS TASKS IDS

Its task registry is the package's own, in memory, filled through its public methods before the server listens. The tasks' ids
go to the file IDS, one a line, the n-th of account `acct_{n % ACCOUNTS}`.
"""

import asyncio
import json
import pathlib
import sys

import adcp.decisioning as d
import adcp.decisioning.capabilities as c
from adcp.server.auth import BearerTokenAuth, Principal, auth_context_factory, validator_from_token_map

AGENT = "agent.bench.example"


class BenchSeller(d.DecisioningPlatform):
    capabilities = d.DecisioningCapabilities(
        specialisms=["sales-non-guaranteed"],
        supported_protocols=["media_buy"],
        adcp=c.Adcp(major_versions=[3], idempotency=c.IdempotencyUnsupported(supported=False)),
        account=c.Account(supported_billing=["operator"]),
        media_buy=c.MediaBuy(supported_pricing_models=["cpm"]),
    )
    accounts = d.ExplicitAccounts(loader=lambda account_id: d.Account(id=account_id))

    def __init__(self, products):
        self.products = products

    async def get_products(self, req, ctx):
        return self.products

    # What no benchmark calls, and the SDK does not start without.
    async def create_media_buy(self, req, ctx):
        raise d.AdcpError("UNSUPPORTED_FEATURE")

    async def update_media_buy(self, media_buy_id, patch, ctx):
        raise d.AdcpError("UNSUPPORTED_FEATURE")

    async def sync_creatives(self, req, ctx):
        raise d.AdcpError("UNSUPPORTED_FEATURE")

    async def get_media_buy_delivery(self, req, ctx):
        raise d.AdcpError("UNSUPPORTED_FEATURE")


async def fill(registry, accounts, tasks):
    context = {"correlation_id": "bench"}
    return [
        await registry.issue(
            account_id=f"acct_{number % accounts}", task_type="create_media_buy", request_context=context
        )
        for number in range(1, tasks + 1)
    ]


def main(port, token, products, accounts, tasks, ids):
    registry = d.InMemoryTaskRegistry()
    pathlib.Path(ids).write_text("\n".join(asyncio.run(fill(registry, int(accounts), int(tasks)))))
    principal = Principal(caller_identity=AGENT, tenant_id="bench")
    d.serve(
        BenchSeller(json.loads(pathlib.Path(products).read_text())),
        name="bench",
        registry=registry,
        host="127.0.0.1",
        port=int(port),
        auth=BearerTokenAuth(validate_token=validator_from_token_map({token: principal})),
        context_factory=auth_context_factory,
    )


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
