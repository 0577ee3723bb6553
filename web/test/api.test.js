import assert from "node:assert/strict";
import test from "node:test";
import { ApiError, complete } from "../src/api.js";

const [one, two] = [{ text: "é🙂" }, { text: "more\nlines" }];
const told = `: a comment\n\ndata: ${JSON.stringify(one)}\n\ndata:${JSON.stringify(two)}\r\n\r\n`;
const bytesOf = (text) => new TextEncoder().encode(text);

/** Let the server answer with these chunks, and then end, break off or go on for ever. */
function answer(chunks, atEnd = "close") {
  const state = { cancelled: false };
  const start = (body) => chunks.forEach((chunk) => body.enqueue(chunk));
  const pull = (body) => body[atEnd]?.();
  const body = new ReadableStream({ start, pull, cancel: () => void (state.cancelled = true) });
  globalThis.fetch = async () => new Response(body);
  return state;
}

async function read({ most = Infinity, signal = new AbortController().signal } = {}) {
  const all = [];
  for await (const event of complete({}, signal)) if (all.push(event) === most) break;
  return all;
}

test("events are the same wherever their bytes are split", async () => {
  const bytes = bytesOf(`${told}data: [DONE]\n\n`);
  for (let at = 0; at <= bytes.length; at++) {
    answer([bytes.slice(0, at), bytes.slice(at)]);
    assert.deepEqual(await read(), [one, two]);
  }
  answer([...bytes].map((byte) => Uint8Array.of(byte)));
  assert.deepEqual(await read(), [one, two]);
});

test("an end without the last event is told, and so is an error among the events", async () => {
  answer([bytesOf(`${told}data: {"te`)]);
  await assert.rejects(read(), new ApiError("The connection to the server broke off."));
  answer([bytesOf(told)], "error");
  await assert.rejects(read(), new ApiError("There is no connection to the server."));
  answer([bytesOf('data: {"error": {"message": "out of memory"}}\n\n')], "wait");
  await assert.rejects(read(), { message: "out of memory", status: 500 });
});

test("who leaves early lets the request go, so that the server stops", async () => {
  const state = answer([bytesOf(told)], "wait");
  assert.deepEqual(await read({ most: 1 }), [one]);
  await new Promise((resolve) => setTimeout(resolve));
  assert.ok(state.cancelled);
});
