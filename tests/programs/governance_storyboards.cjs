// The protocol's governance storyboards with the protocol's own runner and a governance agent.
//
// Prints one JSON object: every step with what came of it and what was answered.
//
//     governance_storyboards.cjs SELLER AGENT      the API key is in BUYER_API_KEY, the agent's credentials in GOVERNANCE_CREDENTIALS

"use strict";

const { getComplianceStoryboardById, runStoryboard } = require("@adcp/sdk/testing");

const SCENARIOS = ["approved", "conditions", "denied", "denied_recovery"];

// stdout is for the answer.
for (const level of ["log", "info", "debug"]) console[level] = (...words) => console.error(...words);

// They make a plan, and do not say in their purchases that it is theirs, which their own schema asks of them where an account has a
// governance agent; later releases' do (adcontextprotocol/adcp issue 7547).
function withPlan(storyboard) {
  for (const { steps } of storyboard.phases) {
    for (const step of steps.filter(({ task }) => task === "create_media_buy")) {
      step.context_inputs = [...(step.context_inputs ?? []), { key: "plan_id", inject_at: "plan_id" }];
    }
  }
  return storyboard;
}

function outcome(step) {
  if (step.skipped) return "skipped";
  return step.passed ? "passed" : "failed";
}

(async () => {
  const [seller, governance] = process.argv.slice(2);
  const bearer = (token) => ({ type: "bearer", token });
  const steps = [];
  for (const scenario of SCENARIOS) {
    const storyboard = withPlan(structuredClone(getComplianceStoryboardById(`media_buy_seller/governance_${scenario}`)));
    const result = await runStoryboard("", storyboard, {
      protocol: "mcp",
      agents: {
        seller: { url: seller, auth: bearer(process.env.BUYER_API_KEY) },
        governance: { url: governance, auth: bearer(process.env.GOVERNANCE_CREDENTIALS) },
      },
      default_agent: "seller",
      context: { governance_agent_url: governance },
      brand: { domain: "acmeoutdoor.example" },
      allow_http: true,
      // The runner seeds no products where there are two agents.
      skip_controller_seeding: true,
    });
    for (const step of result.phases.flatMap(({ steps }) => steps)) {
      const { step_id, error, response, validations } = step;
      const failed = (validations ?? []).filter(({ passed }) => !passed);
      steps.push({ scenario, step: step_id, outcome: outcome(step), error, failed, response });
    }
  }
  process.stdout.write(JSON.stringify({ steps }) + "\n", () => process.exit(0));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
