import assert from "node:assert/strict";
import test from "node:test";
import { SETTINGS, addressOf, settingsFrom, within } from "../src/write/settings.js";

test("an address says anything, settings stay within bounds", () => {
  for (const text of ["", "x", "NaN", "Infinity", "-5", "1e99", "0", "7.5", "<b>"]) {
    const settings = settingsFrom(Object.fromEntries([...SETTINGS, { name: "seed" }].map((s) => [s.name, text])));
    for (const { name, min, max } of SETTINGS) assert.ok(settings[name] >= min && settings[name] <= max);
    assert.ok(Number.isInteger(settings.seed) && settings.seed >= 0);
  }
});

test("settings come back from the address as they were", () => {
  const settings = { temperature: 1.25, top_k: 40, top_p: 0.9, min_p: 0.05, length: 77, seed: 5, lock: true, surprise: true };
  const text = Object.entries(addressOf(settings)).filter(([, v]) => v != null).map(([k, v]) => [k, String(v)]);
  assert.deepEqual(settingsFrom(Object.fromEntries(text)), settings);
  assert.deepEqual(Object.values(addressOf(settingsFrom({}))).filter((v) => v != null), [1337]);
});

test("what is no number leaves the value as it was", () => {
  assert.equal(within("abc", SETTINGS[0], 0.8), 0.8);
  assert.equal(within("7.6", SETTINGS[1], 0), 8);
});
