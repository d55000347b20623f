// An agent written from docs/protocol.md alone: the official NATS client, JSON, and nothing of Consort.
//
//   CONSORT_SERVER=nats://127.0.0.1:4222 CONSORT_CREDS=agent.plain.creds node agent.mjs
//
// It offers `node.reverse`, which answers at once, and `node.nap`, which sleeps for so many seconds.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import { jetstream } from "@nats-io/jetstream";
import { connect, credsAuthenticator, headers } from "@nats-io/transport-node";
import { code, filled, macKey, reportKey, sha256, unmask } from "./codes.mjs";

const NAME = "node";
const SLOTS = 2;
const LEASE = 2;
const POISON_AFTER = 5;
const TEXT = { type: "object", properties: { text: { type: "string" } }, required: ["text"] };
const CARD = {
  name: NAME,
  version: "1",
  slots: SLOTS,
  lease: LEASE,
  poison_after: POISON_AFTER,
  encoding: "json",
  skills: [
    { name: "node.reverse", input_schema: TEXT, output_schema: TEXT },
    { name: "node.nap", output_schema: TEXT },
  ],
};

const creds = readFileSync(process.env.CONSORT_CREDS);
const key = macKey(creds.toString());
const instance = randomBytes(4).toString("hex");
const inbox = `_INBOX.agent.${NAME}`;
const nc = await connect({
  servers: process.env.CONSORT_SERVER,
  authenticator: credsAuthenticator(creds),
  inboxPrefix: inbox,
  maxReconnectAttempts: -1,
});
const js = jetstream(nc);
const inHand = new Map();
const held = new Set();
const started = Date.now() / 1000;
let joined = 0;
let ahead = 0;

class Failed extends Error {
  constructor(kind, message, retry) {
    super(message);
    this.kind = kind;
    this.retry = retry;
  }
}

const failed = (kind, message, retry = true) => ({ outcome: "failed", kind, message: message.slice(0, 2000), retry });

function sealed(sealKey, subject, body) {
  const made = headers();
  made.set("Content-Type", "application/json");
  made.set("Consort-Mac", code(sealKey, subject, body));
  return made;
}

// --- taking part

async function ask(verb, question) {
  const subject = `api.${verb}.${NAME}`;
  const body = Buffer.from(JSON.stringify(question));
  try {
    return (await nc.request(subject, body, { timeout: 2000, headers: sealed(key, subject, body) })).json();
  } catch {
    return null;
  }
}

async function join() {
  let answer = null;
  while ((answer = await ask("announce", { card: CARD, instance })) === null) await pause(200);
  if (!answer.accepted) throw new Error(`not admitted: ${answer.why}`);
  joined = answer.now;
  ahead = answer.now - Date.now() / 1000;
  return answer.consumer;
}

function showLife() {
  const subject = `$KV.AGENTS.${NAME}.${instance}`;
  const { pid } = process;
  const presence = { instance, card: CARD, host: hostname(), pid, started, busy: inHand.size };
  const body = Buffer.from(JSON.stringify(presence));
  const signed = sealed(key, subject, body);
  signed.set("Nats-TTL", "10s");
  nc.publish(subject, body, { headers: signed });
}

// --- tasks

/** One place for a task: asks for one, does it, asks for the next. */
async function slot(number, consumer) {
  const reply = `${inbox}.${instance}.${number}`;
  const arriving = nc.subscribe(reply)[Symbol.asyncIterator]();
  const request = JSON.stringify({ batch: 1, expires: 2_000_000_000 });
  for (;;) {
    nc.publish(`$JS.API.CONSUMER.MSG.NEXT.LOG.${consumer}`, request, { reply });
    const { value: msg } = await arriving.next();
    if (msg.reply) await take(msg);
    else if (msg.headers?.code !== 408) await pause(200);
  }
}

async function take(msg) {
  let task;
  try {
    task = await read(msg);
  } catch (fault) {
    nc.publish(msg.reply, `+TERM ${fault.message}`);
    return;
  }
  const known = inHand.get(task.id);
  if (known !== undefined) {
    known.reply = msg.reply; // the lease ran out while it was in hand: the newest delivery holds it
  } else if (await mayBegin(task)) {
    inHand.set(task.id, task);
    await carryOut(task).finally(() => inHand.delete(task.id));
  }
}

async function read(msg) {
  const stored = msg.headers?.get("Consort-Body");
  const covered = stored ? Buffer.from(stored) : msg.data;
  const right = msg.headers?.get("Consort-Agent-Mac") === code(key, msg.subject, covered);
  if (!right || msg.headers.has("Nats-Stream")) throw new Error("no orchestrator sent it");
  const { run, granted } = JSON.parse(stored ? await fetchStored(JSON.parse(stored)) : msg.string());
  if (msg.subject !== `log.${run}.copy.${NAME}.${granted.task}`) throw new Error("it is about another task");
  const masked = Buffer.from(msg.headers.get("Consort-Token"), "hex");
  const token = unmask(key, run, granted.task, granted.nonce, masked);
  const all = msg.reply.split(".");
  const [delivered, , , nanoseconds] = all.slice(all.length === 9 ? 4 : 6).map(Number);
  const stop = new AbortController();
  return { id: `${run} ${granted.task}`, run, granted, token, reply: msg.reply, delivered, stored: nanoseconds / 1e9, stop };
}

async function mayBegin(task) {
  const late = task.delivered > 1 || Date.now() / 1000 + ahead - task.stored > 3 || task.stored < joined;
  const answer = late ? await ask("wanted", { run: task.run, task: task.granted.task }) : null;
  if (answer?.wanted === "no") {
    nc.publish(task.reply, "+ACK");
    return false;
  }
  if (answer !== null) held[answer.wanted === "later" ? "add" : "delete"](task.run);
  if (held.has(task.run)) {
    nc.publish(task.reply, '-NAK {"delay": 1000000000}');
    return false;
  }
  if (task.delivered > POISON_AFTER) {
    await report(task, failed("poison", `delivered ${task.delivered} times`), 0);
    return false;
  }
  return true;
}

async function carryOut(task) {
  const began = performance.now();
  let outcome;
  try {
    outcome = { outcome: "done", output: { value: await work(task) } };
  } catch (fault) {
    if (task.stop.signal.aborted) return;
    outcome = failed(fault.kind ?? "exception", fault.message, fault.retry ?? true);
  }
  await report(task, outcome, (performance.now() - began) / 1000);
}

async function work({ run, granted, stop }) {
  const results = {};
  for (const { path, output } of granted.handoff?.priors ?? []) {
    if (output) results[path] = output.ref ? JSON.parse(await fetchStored(output.ref)) : output.value;
  }
  const inputs = filled(granted, results);
  switch (granted.skill) {
    case "node.reverse":
      if (typeof inputs.text !== "string") throw new Failed("bad-input", "text is missing or no text", false);
      return { text: [...inputs.text].reverse().join("") };
    case "node.nap":
      nc.publish(
        `live.${run}.${NAME}.${granted.task}`,
        JSON.stringify({ step: granted.path, text: `napping, attempt ${granted.attempt}`, done: 0, total: inputs.seconds }),
      );
      await pause(inputs.seconds * 1000, undefined, { signal: stop.signal });
      return { text: "rested" };
    default:
      throw new Failed("no-skill", `${NAME} has no skill ${granted.skill}`, true);
  }
}

async function fetchStored(ref) {
  const parts = [];
  const [role, ...name] = ref.writer.split(".");
  for (let size = 0, number = 0; size < ref.size; number += 1) {
    const subject = `artefact.${role}.${name.join(".")}.${ref.artefact}.${number}`;
    const part = await nc.request(`$JS.API.DIRECT.GET.ARTEFACTS.${subject}`, "", { timeout: 5000 });
    if (part.headers?.code) throw new Error(`part ${number} is not there`);
    parts.push(part.data);
    size += part.data.length;
  }
  const data = Buffer.concat(parts);
  if (sha256(data) !== ref.artefact) throw new Error("it is damaged");
  return data.toString();
}

// --- saying something

/** Store a message in the inbox: tried again until the stream has it. */
async function say(task, message) {
  const subject = `in.agent.${NAME}.${task.run}`;
  const body = Buffer.from(JSON.stringify({ ...message, task: task.granted.task, instance }));
  const signed = sealed(reportKey(key, task.token), subject, body);
  for (;;) {
    try {
      return await js.publish(subject, body, { headers: signed, timeout: 2000 });
    } catch {
      await pause(200);
    }
  }
}

async function report(task, outcome, seconds) {
  await say(task, { say: "report", outcome, seconds });
  nc.publish(task.reply, "+ACK"); // last: what is not acknowledged comes again
}

function ordered(_, msg) {
  if (msg.headers?.get("Consort-Agent-Mac") !== code(key, msg.subject, msg.data) || msg.headers.has("Nats-Stream")) return;
  const order = msg.json();
  if (order.order === "hold") held[order.on ? "add" : "delete"](order.run);
  const task = inHand.get(`${order.run} ${order.task}`);
  if (order.order !== "stop" || task === undefined || task.stop.signal.aborted) return;
  task.stop.abort();
  nc.publish(task.reply, "+ACK");
  void say(task, { say: "heed", order: "stop", how: "stopped" });
}

nc.subscribe(`ctl.${NAME}`, { callback: ordered });
const consumer = await join();
showLife();
setInterval(showLife, 3000);
setInterval(() => inHand.forEach((task) => nc.publish(task.reply, "+WPI")), (LEASE * 1000) / 3);
for (let number = 0; number < SLOTS; number += 1) void slot(number, consumer);
