// What temperature, top-k, top-p and min-p leave of a distribution: as the engine computes it, in
// the same order, with the same rules for ties and bounds (generation/logits.py, filter_logits).
// Only where top-p parts tokens that are exactly alike, the engine's sort may leave another of them.

const COLDEST = 1e-5; // below it the engine takes the likeliest token and divides by nothing

function softmax(logits) {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = Float64Array.from(logits, (logit) => Math.exp(logit - most));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}

/** The probabilities {before, after} the settings, of every token; what is excluded has 0. */
export function distributions(logits, { temperature, top_k, top_p, min_p }) {
  const before = softmax(logits);
  if (temperature < COLDEST) {
    const likeliest = logits.indexOf(logits.reduce((a, b) => Math.max(a, b), -Infinity));
    return { before, after: before.map((_, id) => Number(id === likeliest)) };
  }
  // The engine's own precision, so that what is alike there is alike here.
  const left = Float32Array.from(logits, (logit) => logit / Math.fround(temperature));
  const drop = (outside) => left.forEach((_, id) => outside(id) && (left[id] = -Infinity));
  if (top_k > 0 && top_k < left.length) {
    const least = Float32Array.from(left).sort()[left.length - top_k];
    drop((id) => left[id] < least);
  }
  if (top_p < 1) {
    const probabilities = Float32Array.from(softmax(left));
    const ascending = [...left.keys()].sort((a, b) => left[a] - left[b] || a - b);
    ascending.pop(); // the likeliest stays, whatever it holds
    let sum = 0; // a token goes when it and all less likely ones hold at most 1 - p together
    const rest = Math.fround(1 - top_p);
    const gone = new Set(ascending.filter((id) => Math.fround((sum += probabilities[id])) <= rest));
    drop((id) => gone.has(id));
  }
  if (min_p > 0) {
    const probabilities = Float32Array.from(softmax(left));
    const most = probabilities.reduce((a, b) => Math.max(a, b), 0);
    const least = Math.fround(Math.fround(min_p) * most);
    drop((id) => probabilities[id] < least);
  }
  return { before, after: softmax(left) };
}

/** How undecided a distribution is, in bits. */
export const entropy = (probabilities) =>
  probabilities.reduce((sum, p) => (p > 0 ? sum - p * Math.log2(p) : sum), 0);
