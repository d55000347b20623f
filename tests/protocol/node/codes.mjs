// Codes and tokens, as docs/protocol.md says; the vectors of docs/protocol/vectors.json come out.

import { createHash } from "node:crypto";
import { blake2b } from "@noble/hashes/blake2.js";

const bytes = (text) => Buffer.from(text, "utf8");

export function code(key, subject, body) {
  const covered = Buffer.concat([bytes(subject), Buffer.from([0]), Buffer.from(body)]);
  return Buffer.from(blake2b(covered, { key, dkLen: 16 })).toString("hex");
}

export function unmask(key, run, task, nonce, masked) {
  const pad = blake2b(bytes(`token ${run} ${task} ${nonce}`), { key, dkLen: 16 });
  return Buffer.from(pad.map((byte, at) => byte ^ masked[at]));
}

export function reportKey(key, token) {
  return blake2b(Buffer.concat([bytes("consort report "), token]), { key, dkLen: 32 });
}

export function macKey(creds) {
  const found = /-----BEGIN CONSORT MAC KEY-----\s+(\S+)\s/.exec(creds);
  if (found === null) throw new Error("these credentials are no agent's");
  return Buffer.from(found[1], "base64");
}

export const sha256 = (data) => createHash("sha256").update(data).digest("hex");

/** The inputs of a task, with the results that it follows in their places. */
export function filled(granted, results) {
  const inputs = granted.inputs ?? {};
  for (const hole of granted.holes ?? []) {
    const value = (hole.path ?? []).reduce((at, part) => at[part], results[hole.prior]);
    const place = hole.at.slice(0, -1).reduce((at, part) => at[part], inputs);
    place[hole.at.at(-1)] = value;
  }
  return inputs;
}
