// The test vectors of docs/protocol/vectors.json, named on the command line, by the functions of the agent.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { code, filled, macKey, reportKey, unmask } from "./codes.mjs";

const vectors = JSON.parse(readFileSync(process.argv[2], "utf8"));
const hex = (text) => Buffer.from(text, "hex");
const text = (bytes) => Buffer.from(bytes).toString("hex");

assert.equal(text(macKey(vectors.mac_key.block)), vectors.mac_key.key);
for (const one of vectors.code) assert.equal(code(hex(one.key), one.subject, Buffer.from(one.body)), one.code);
for (const one of vectors.mask) {
  assert.equal(text(unmask(hex(one.key), one.run, one.task, one.nonce, hex(one.header))), one.token);
}
const known = vectors.report_key;
assert.equal(text(reportKey(hex(known.key), hex(known.token))), known.report_key);
const { key, subject, headers, body, token, inputs } = vectors.delivery;
assert.equal(code(hex(key), subject, Buffer.from(body)), headers["Consort-Agent-Mac"]);
const { run, granted } = JSON.parse(body);
assert.equal(text(unmask(hex(key), run, granted.task, granted.nonce, hex(headers["Consort-Token"]))), token);
const results = Object.fromEntries(granted.handoff.priors.map((prior) => [prior.path, prior.output.value]));
assert.deepEqual(filled(granted, results), inputs);
const { report } = vectors;
assert.equal(
  code(reportKey(hex(report.key), hex(report.token)), report.subject, Buffer.from(report.body)),
  report.headers["Consort-Mac"],
);
