import assert from "node:assert/strict";
import test from "node:test";
import { alternatives, isText, levelOf, percent, placed, shown, spansOf } from "../src/write/surprise.js";

/** The server's lists for tokens of a text, all of one log-probability. */
const lists = (tokens, text_offset, logprob = -Math.LN2) => ({
  tokens, text_offset, token_logprobs: tokens.map(() => logprob), top_logprobs: tokens.map(() => ({})),
});
const where = (spans) => spans.map(({ from, to, bits }) => [from, to, bits]);

test("places are told in code points and taken as strings count", () => {
  const told = lists(["😀", "a", "漢字", "😀😀", "b"], [0, 1, 2, 4, 6]);
  const tokens = placed(told, "😀a漢字😀😀b", 100);
  assert.deepEqual(tokens.map(({ from, to }) => [from, to]), [[100, 102], [102, 103], [103, 105], [105, 109], [109, 110]]);
});

test("tokens that share a character are one, and their bits are added", () => {
  const parts = ["\\xf0", "\\x9f", "\\x98", "\\x80"].map((byte) => `bytes:${byte}`);
  const tokens = placed(lists(["a", ...parts, "b"], [0, 1, 1, 1, 1, 2]), "a😀b", 0);
  assert.deepEqual(where(spansOf(tokens)), [[0, 1, 1], [1, 3, 4], [3, 4, 1]]);
});

test("a character that comes in several pieces is one as well", () => {
  const first = placed(lists(["x", "bytes:\\xc3"], [5, 6]), "x", 40, 5);
  const second = placed(lists(["bytes:\\xa9", "y"], [6, 7]), "éy", 41, 6);
  assert.deepEqual(where(spansOf([...first, ...second])), [[40, 41, 1], [41, 42, 2], [42, 43, 1]]);
  assert.deepEqual(where(spansOf(first)), [[40, 41, 1]]); // half a character is nowhere yet
});

test("the first token has no surprise, an impossible one no end of it", () => {
  const told = { ...lists(["a", "b"], [0, 1]), token_logprobs: [null, -9999] };
  assert.deepEqual(where(spansOf(placed(told, "ab", 0))), [[0, 1, null], [1, 2, Infinity]]);
  assert.deepEqual([null, 0, 1.9, 2, 11.9, 12, 99, Infinity].map(levelOf), [0, 0, 0, 1, 5, 6, 6, 6]);
});

test("alternatives stand in the order of their chances, whatever they are called", () => {
  const top = JSON.parse('{"chosen": -9, "7": -2, "__proto__": -1, "b": -3}');
  const all = alternatives({ parts: [{ name: "chosen", top }] });
  assert.deepEqual(all.map(({ text }) => text), ["__proto__", "7", "b", "chosen"]);
  assert.deepEqual(all.map(({ rank, chosen }) => [rank, chosen]), [[1, false], [2, false], [3, false], [4, true]]);
  assert.deepEqual(alternatives({ parts: [{ name: "a", top: null }] }), []);
});

test("the one that stands there is told even if ten others are likelier", () => {
  const likelier = Array.from({ length: 10 }, (_, i) => [`t${i}`, -1 - i]);
  const all = alternatives({ parts: [{ name: "x", top: Object.fromEntries([["x", -20], ...likelier]) }] });
  assert.equal(all.length, 11);
  assert.deepEqual([all[10].text, all[10].rank, all[9].rank], ["x", null, 10]);
});

test("blanks can be seen, bytes are told, and only texts can be put into a text", () => {
  assert.deepEqual([" a b", "\n\n", "\t", "bytes:\\xe2\\x80"].map(shown), ["·a·b", "⏎⏎", "⇥", "\\xe2\\x80"]);
  assert.deepEqual(["bytes:\\xe2", "bytes:", "a bytes:\\xe2"].map(isText), [false, true, true]);
  assert.deepEqual([1, 0.0828, 1e-9].map(percent), ["100 %", "8.28 %", "<0.0001 %"]);
});
