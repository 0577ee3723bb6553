import assert from "node:assert/strict";
import test from "node:test";
import { events } from "../src/sse.js";

const told = ": a comment\n\ndata: one\n\ndata:two é🙂\r\n\r\nevent: x\ndata: three\ndata: more\n\ndata: [DONE]\n\n";
const meant = ["one", "two é🙂", "three\nmore", "[DONE]"];

async function read(chunks) {
  const all = [];
  for await (const data of events(chunks)) all.push(data);
  return all;
}

test("events are the same wherever their bytes are split", async () => {
  const bytes = new TextEncoder().encode(told);
  for (let at = 0; at <= bytes.length; at++) {
    assert.deepEqual(await read([bytes.slice(0, at), bytes.slice(at)]), meant);
  }
  assert.deepEqual(await read([...bytes].map((byte) => Uint8Array.of(byte))), meant);
});

test("an event that is not finished is none", async () => {
  assert.deepEqual(await read([new TextEncoder().encode("data: one\n\ndata: tw")]), ["one"]);
});
