// A buyer's agent with the protocol's own JavaScript client, unmodified.
//
// Reads calls from stdin, one JSON object a line: {"call": "create_media_buy", "request": {…}}. Prints for each what the client
// made of the answer, one JSON object a line. "track" polls a submitted task once, "wait" until its end; of both, the request is
// {"task_id": …}.
//
//     buyer.cjs URL        the API key is in BUYER_API_KEY, the packages are in NODE_PATH

"use strict";

const readline = require("node:readline");
const { ADCPMultiAgentClient } = require("@adcp/sdk");

const POLL_INTERVAL_MS = 200;

// stdout is for answers.
for (const level of ["log", "info", "debug"]) console[level] = (...words) => console.error(...words);

const agents = [
  { id: "seller", name: "seller", agent_uri: process.argv[2], protocol: "mcp", auth_token: process.env.BUYER_API_KEY },
];
const agent = new ADCPMultiAgentClient(agents).agent("seller");
const submitted = new Map();

function ask(call, request) {
  if (call === "list_tasks") return agent.executeTask(call, request); // the client's own listTasks lists its own calls
  if (call === "info") return agent.getAgentInfo();
  if (call === "track") return submitted.get(request.task_id).track();
  if (call === "wait") return submitted.get(request.task_id).waitForCompletion(POLL_INTERVAL_MS);
  const method = call.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
  return method in agent ? agent[method](request) : agent.executeTask(call, request);
}

async function answer({ call, request }) {
  try {
    const result = await ask(call, request);
    if (result.submitted) submitted.set(result.submitted.taskId, result.submitted);
    const { debug_logs, conversation, metadata, ...told } = result;
    return told;
  } catch (error) {
    return { raised: error.name, code: error.code, message: error.message };
  }
}

(async () => {
  process.stdout.write('{"ready": true}\n');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await answer(JSON.parse(line))) + "\n");
  }
  process.exit(0);
})();
