// A client written from docs/protocol.md alone: the official NATS client, JSON, and nothing of Consort.
//
// Reads orders and prints what came of them, a line of JSON each:
//   {"do": "submit", "plan": {…}, "inputs": {…}}   {"do": "ask", …, "key": "order-17"}   {"do": "wait", "run": "…"}

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { jetstream } from "@nats-io/jetstream";
import { connect, credsAuthenticator } from "@nats-io/transport-node";

const NAME = process.env.CLIENT ?? "shell";
const ENDED = ["completed", "failed", "cancelled"];
const nc = await connect({
  servers: process.env.CONSORT_SERVER,
  authenticator: credsAuthenticator(readFileSync(process.env.CONSORT_CREDS)),
  inboxPrefix: `_INBOX.client.${NAME}`,
});
const js = jetstream(nc);

const newRun = () => Date.now().toString(16).padStart(12, "0") + randomBytes(10).toString("hex");
const tell = (run, message) => js.publish(`in.client.${NAME}.${run}`, JSON.stringify(message), { timeout: 5000 });

/** A request to whichever orchestrator is there; without one it is asked again. */
async function ask(verb, question) {
  for (let left = 200; ; left -= 1) {
    try {
      return (await nc.request(`api.${verb}.${NAME}`, JSON.stringify(question), { timeout: 5000 })).json();
    } catch (fault) {
      if (left === 0 || !/no responders/i.test(`${fault.message} ${fault.cause?.message}`)) throw fault;
      await pause(100);
    }
  }
}

async function wait(run) {
  let hint = () => {};
  nc.subscribe(`log.${run}.entry.*.ended`, { callback: () => hint() });
  for (let left = 30; ; left -= 1) {
    const status = await ask("status", { run });
    if (ENDED.includes(status.state) || left === 0) return status;
    await Promise.race([pause(1000), new Promise((resolve) => (hint = resolve))]);
  }
}

async function carryOut({ do: what, run = newRun(), ...order }) {
  switch (what) {
    case "submit":
      return { run, seq: (await tell(run, { say: "submit", ...order })).seq };
    case "say":
      return { run, seq: (await tell(run, order)).seq };
    case "ask":
      return ask("submit", order);
    case "wait":
      return wait(run);
    default:
      throw new Error(what);
  }
}

for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  console.log(JSON.stringify(await carryOut(JSON.parse(line))));
}
await nc.close();
