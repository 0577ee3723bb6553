// Arrays as the API sends them, as typed arrays, and as lists again for whoever takes them away.

const TYPES = {
  f4: [Float32Array, "Float32"], i4: [Int32Array, "Int32"], u1: [Uint8Array, "Uint8"],
};

/** An answer with every {shape, type, data} in it as {shape, values: typed array}. */
export function decoded(answer) {
  if (Array.isArray(answer)) return answer.map(decoded);
  if (answer === null || typeof answer !== "object") return answer;
  if (!(answer.type in TYPES && "data" in answer)) {
    return mapped(answer, decoded);
  }
  const bytes = Uint8Array.from(atob(answer.data), (c) => c.charCodeAt(0));
  const [Type, kind] = TYPES[answer.type];
  const view = new DataView(bytes.buffer);
  const size = Type.BYTES_PER_ELEMENT;
  const at = (_, i) => view[`get${kind}`](i * size, true); // little endian, whatever we run on
  return { shape: answer.shape, values: Type.from({ length: bytes.length / size }, at) };
}

/** The same with nested lists in the place of arrays; NaN becomes null in JSON. */
export function plain(data) {
  if (Array.isArray(data)) return data.map(plain);
  if (data === null || typeof data !== "object") return data;
  if (ArrayBuffer.isView(data.values)) return nested(data.shape, [...data.values]);
  return mapped(data, plain);
}

const mapped = (data, change) =>
  Object.fromEntries(Object.entries(data).map(([name, value]) => [name, change(value)]));

function nested([count, ...rest], values) {
  if (count === undefined) return values[0];
  const size = rest.reduce((a, b) => a * b, 1);
  const part = (_, i) => nested(rest, values.slice(i * size, (i + 1) * size));
  return Array.from({ length: count }, part);
}
