// Arrays as the API sends them, as typed arrays, and as lists again for whoever takes them away.

// The wire is little endian, and so is every machine that browsers are made for.
const TYPES = { f4: Float32Array, i4: Int32Array, u1: Uint8Array };

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/** An answer with every {shape, type, data} in it as {shape, values: typed array}. */
export const decoded = (answer) =>
  changed(answer, ({ shape, type, data }) =>
    shape && type in TYPES ? { shape, values: new TYPES[type](bytesOf(data).buffer) } : null);

/** The same with nested lists in the place of arrays; NaN becomes null in JSON. */
export const plain = (data) =>
  changed(data, ({ shape, values }) => (ArrayBuffer.isView(values) ? nested(shape, [...values]) : null));

/** A value with what `change` makes of the objects in it, where it makes anything of them. */
function changed(value, change) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((each) => changed(each, change));
  const entries = () => Object.entries(value).map(([name, each]) => [name, changed(each, change)]);
  return change(value) ?? Object.fromEntries(entries());
}

function nested([count, ...rest], values) {
  if (count === undefined) return values[0];
  const size = values.length / count;
  return Array.from({ length: count }, (_, i) => nested(rest, values.slice(i * size, (i + 1) * size)));
}
