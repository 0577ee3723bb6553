import assert from "node:assert/strict";
import test from "node:test";
import { decoded, plain } from "../src/look/arrays.js";
import { makeScale, ramp, rgbOf, short, signed } from "../src/look/colours.js";
import { named, visible } from "../src/look/visible.js";

const wire = (type, shape, values, size, put) => {
  const bytes = new DataView(new ArrayBuffer(size * values.length));
  values.forEach((value, i) => bytes[put](i * size, value, true));
  return { type, shape, data: Buffer.from(bytes.buffer).toString("base64") };
};

test("arrays come out as they were put in, and the rest as it is", () => {
  const answer = {
    model: "m", none: null, list: [1, "x"],
    f: wire("f4", [2, 3], [0, -1.5, NaN, 1e-30, 4, 0.1], 4, "setFloat32"),
    deep: [{ i: wire("i4", [2], [-7, 2 ** 30], 4, "setInt32") }],
    u: wire("u1", [1, 2, 1], [0, 255], 1, "setUint8"),
    empty: wire("f4", [0, 5], [], 4, "setFloat32"),
    texts: { type: "no array", data: "of ours" },
  };
  const data = decoded(answer);
  assert.deepEqual([...data.f.values], [0, -1.5, NaN, Math.fround(1e-30), 4, Math.fround(0.1)]);
  assert.ok(data.f.values instanceof Float32Array && data.deep[0].i.values instanceof Int32Array);
  assert.deepEqual([data.model, data.none, data.list, data.texts], ["m", null, [1, "x"], answer.texts]);
  const lists = plain(data);
  assert.deepEqual(lists.f, [[0, -1.5, NaN], [Math.fround(1e-30), 4, Math.fround(0.1)]]);
  assert.deepEqual([lists.deep[0].i, lists.u, lists.empty], [[-7, 2 ** 30], [[[0], [255]]], []].slice(0, 2).concat([[]]));
  assert.equal(JSON.parse(JSON.stringify(lists)).f[0][2], null);
});

test("what cannot be seen is shown, and nothing turns the text around", () => {
  assert.equal(visible("a b\n"), "a·b⏎");
  assert.equal(visible("\u202eabc\u200b\u0000\r\u00a0"), "\\u202eabc\\u200b\\u0000\\u000d\\u00a0");
  assert.equal(visible("<b>é漢👩‍🚀"), "<b>é漢👩‍🚀");
  assert.deepEqual([" ", "\n\n", "\t", " the", ""].map(named), ["blank", "newline, newline", "tab", "“·the”", "nothing"]);
});

test("a scale goes from one colour to the other, evenly, and stays within", () => {
  assert.deepEqual([rgbOf(" #fff"), rgbOf("#102030")], [[255, 255, 255], [16, 32, 48]]);
  const [white, black] = [[255, 255, 255], [0, 0, 0]];
  assert.deepEqual(ramp([white, black], 3), [white, [128, 128, 128], black]);
  const scale = makeScale([black, white], -2, 2);
  assert.deepEqual([-9, -2, 2, 9].map(scale.rgb), [black, black, white, white]);
  assert.equal(scale.rgb(NaN), null);
  const signed = makeScale([[255, 0, 0], white, [0, 0, 255]], -1, 1);
  assert.ok(signed.rgb(0).every((c) => c > 252));
  const luminance = (rgb) => rgb.map((c) => ((c / 255 + 0.055) / 1.055) ** 2.4).reduce((a, c, k) => a + c * [0.2126, 0.7152, 0.0722][k], 0);
  for (let v = -2; v <= 2; v += 0.1) {
    const letters = scale.style(v).color === "#000" ? 0 : 1;
    const [low, high] = [letters, luminance(scale.rgb(v))].sort();
    assert.ok((high + 0.05) / (low + 0.05) >= 4.5, `${v} can be read`);
  }
});

test("numbers are short and say when they are none", () => {
  assert.deepEqual([0.03124, -1.5, 3.14e-7, 0, NaN, 12345].map(short), ["0.0312", "−1.5", "3.1e-7", "0", "undefined", "12,300"]);
});

test("a change has a sign, unless it is none", () => {
  assert.deepEqual([0.5124, -0.02, 0.0004, -0.0004, 0].map((x) => signed(x)), ["+0.512", "−0.020", "0.000", "0.000", "0.000"]);
  assert.equal(signed(-2.345, 1), "−2.3");
});
