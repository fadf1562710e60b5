// The protocol's storyboards with the protocol's own runner, unmodified: all that a seller's capabilities ask for.
//
// Prints one JSON object: the runner's numbers, every step with what came of it, and how the keys of webhooks were found.
//
//     storyboards.cjs URL        the packages are in NODE_PATH, the credential is in BUYER_API_KEY or BUYER_TOKEN; of a token
//                                the runner knows nothing, and looks for OAuth; where BUYER_STORYBOARDS names
//                                some, with commas between, only those are run, and signed requests are sent over MCP

"use strict";

const { createMCPClient } = require("@adcp/sdk");
const { StaticJwksResolver, resolveAgent } = require("@adcp/sdk/signing");
const { BrandJsonSchema, comply, getComplianceStoryboardById, runStoryboard } = require("@adcp/sdk/testing");

const PATIENCE_MS = 1_200_000;
const STEADY_MS = 600_000;

// stdout is for the answer.
for (const level of ["log", "info", "debug"]) console[level] = (...words) => console.error(...words);

// The runner means to repeat a request, but says "from tomorrow on" in it, to the millisecond: so it asks for something else, which
// a seller has to refuse. Where it builds requests its clock stands still for some minutes, so that tomorrow stays the same;
// elsewhere, where it looks at a signature's time, it goes on.
const now = Date.now.bind(Date);
Date.now = () => {
  const at = now();
  return /request-builder/.test(new Error().stack) ? Math.floor(at / STEADY_MS) * STEADY_MS : at;
};

// By https, as a verifier does: from the agent's capabilities over its brand document, each step checked. Where there is no brand
// document to be found, its place is known.
async function discover(url, credential) {
  if (!url.startsWith("https:")) {
    const answer = await fetch(new URL("/.well-known/jwks.json", url));
    return { keys: answer.ok ? (await answer.json()).keys : [], steps: [] };
  }
  // On this machine alone.
  process.env.ADCP_RESOLVER_ALLOW_PRIVATE_IP = "1";
  const client = createMCPClient(url, credential);
  const fetchCapabilities = () => client.callTool("get_adcp_capabilities", {});
  const found = await resolveAgent(url, { allowPrivateIp: true, fetchCapabilities });
  BrandJsonSchema.parse(await (await fetch(found.brandJsonUrl)).json());
  return { keys: found.jwks.keys, steps: found.trace.map(({ name, ok }) => ({ step: name, ok })) };
}

// 3.0 had a purpose of its own for keys that sign webhooks, and its runner takes no other. Since then it is that of requests.
function ofWebhooks(keys) {
  return new StaticJwksResolver(keys.map((key) => ({ ...key, adcp_use: "webhook-signing" })));
}

function outcome(step) {
  if (step.skipped) return "skipped";
  return step.passed ? "passed" : "failed";
}

(async () => {
  const [url, key, token] = [process.argv[2], process.env.BUYER_API_KEY, process.env.BUYER_TOKEN];
  const only = process.env.BUYER_STORYBOARDS?.split(",");
  const access = {
    protocol: "mcp",
    auth: { type: "bearer", token: token ?? key },
    allow_http: true,
    ...(token ? {} : { test_kit: { auth: { api_key: key, probe_task: "list_creatives" } } }),
  };
  const discovered = await discover(url, token ?? key);
  const result = await comply(url, {
    ...access,
    timeout_ms: PATIENCE_MS,
    webhook_receiver: { mode: "loopback_mock" },
    webhook_signing: { jwks: ofWebhooks(discovered.keys) },
    ...(only && { storyboards: only, request_signing: { transport: "mcp" } }),
  });
  const steps = [];
  for (const { scenarios } of result.tracks) {
    for (const { scenario, steps: told } of scenarios) {
      for (const step of told ?? []) {
        const reason = step.skip_reason ?? step.error ?? step.details;
        steps.push({ storyboard: scenario, step: step.step, outcome: outcome(step), reason });
      }
    }
  }
  // Some of the runner's tracks are in no list of tracks.
  const failures = (result.failures ?? []).map(({ storyboard_id, step_id, error, validation }) => ({
    storyboard: storyboard_id,
    step: step_id,
    reason: error ?? validation?.description,
    validation,
  }));
  // So is this one's, whose steps depend on the credential: once more, alone.
  const { phases } = await runStoryboard(url, getComplianceStoryboardById("security_baseline"), access);
  const security = phases.flatMap(({ steps }) => steps).map((step) => ({ step: step.title, outcome: outcome(step) }));
  const { steps_passed, steps_failed, steps_skipped } = result.summary;
  const counts = { passed: steps_passed, failed: steps_failed, skipped: steps_skipped };
  const told = { ...counts, failures, steps, security, discovery: discovered.steps };
  process.stdout.write(JSON.stringify(told) + "\n", () => process.exit(0));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
