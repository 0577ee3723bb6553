import assert from "node:assert/strict";
import test from "node:test";
import { append, blank, cut, edit, pieces, promptEnd } from "../src/write/manuscript.js";

const two = append(append(edit(blank, "Mine. "), "Its "), "own.");
const hands = (manuscript) => pieces(manuscript).map(({ text, model }) => [text, model]);

test("what the model adds is its own, in one piece", () => {
  assert.deepEqual(hands(two), [["Mine. ", false], ["Its own.", true]]);
  assert.equal(promptEnd(two), 6);
  assert.equal(cut(two, promptEnd(two)).text, "Mine. ");
});

test("a change belongs to the reader, and what is around it to whom it belonged", () => {
  assert.deepEqual(hands(edit(two, "Mine, mine. Its own.")), [["Mine, mine. ", false], ["Its own.", true]]);
  const within = edit(two, "Mine. Its very own.");
  assert.deepEqual(hands(within), [["Mine. ", false], ["Its ", true], ["very ", false], ["own.", true]]);
  assert.equal(promptEnd(edit(two, "Mine. Its own. More")), 19);
  assert.equal(promptEnd(edit(two, "")), 0);
});

test("pieces join to the text, whatever was changed", () => {
  let seed = 1;
  const chance = (n) => (seed = (seed * 48271) % 2147483647) % n;
  let manuscript = blank;
  for (let i = 0; i < 2000; i++) {
    const { text } = manuscript;
    const [at, gone] = [chance(text.length + 1), chance(5)];
    const typed = "abc\n".slice(chance(4), chance(5));
    manuscript = chance(3)
      ? edit(manuscript, text.slice(0, at) + typed + text.slice(at + gone))
      : append({ ...manuscript, sight: chance(text.length + 1) }, typed);
    if (chance(50) === 0) manuscript = cut(manuscript, chance(manuscript.text.length + 1));
    assert.equal(pieces(manuscript).map((p) => p.text).join(""), manuscript.text);
    assert.ok(manuscript.marks.every(([from, to]) => from < to && to <= manuscript.text.length));
    assert.ok(manuscript.sight <= manuscript.text.length);
  }
});
