// What temperature, top-k, top-p and min-p leave of a distribution: as the engine computes it, in
// the same order, with the same rules for ties and bounds (generation/logits.py, filter_logits).
// Only where top-p parts tokens that are exactly alike, the engine's sort may leave another of them.

const COLDEST = 1e-5; // below it the engine takes the likeliest token and divides by nothing
const single = Math.fround; // the engine's own precision: what is alike there is alike here

const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

function softmax(logits) {
  const highest = most(logits);
  const weights = Float64Array.from(logits, (logit) => Math.exp(logit - highest));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}

/** The probabilities {before, after} the settings, of every token; what is excluded has 0. */
export function distributions(logits, { temperature, top_k, top_p, min_p }) {
  const before = softmax(logits);
  if (temperature < COLDEST) {
    const likeliest = logits.indexOf(most(logits));
    return { before, after: before.map((_, id) => Number(id === likeliest)) };
  }
  const left = Float32Array.from(logits, (logit) => logit / single(temperature));
  const drop = (outside) => left.forEach((_, id) => outside(id) && (left[id] = -Infinity));
  const kth = Float32Array.from(left).sort().at(-top_k); // of top-k 0 the least: all stay
  drop((id) => left[id] < kth);
  if (top_p < 1) {
    const chances = Float32Array.from(softmax(left));
    const ascending = [...left.keys()].sort((a, b) => left[a] - left[b] || a - b);
    let sum = 0; // a token goes when it and all less likely ones hold at most 1 - p together
    const gone = new Set(ascending.filter((id) => single((sum += chances[id])) <= single(1 - top_p)));
    gone.delete(ascending.at(-1)); // the likeliest stays, whatever it holds
    drop((id) => gone.has(id));
  }
  const chances = Float32Array.from(softmax(left));
  const least = single(single(min_p) * most(chances));
  drop((id) => chances[id] < least);
  return { before, after: softmax(left) };
}

/** How undecided a distribution is, in bits. */
export const entropy = (probabilities) =>
  probabilities.reduce((sum, p) => (p > 0 ? sum - p * Math.log2(p) : sum), 0);
