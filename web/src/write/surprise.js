// How surprising a text is to a model: its tokens, where they stand, what else was expected there.
import { visible } from "../look/visible.js";

export const ALTERNATIVES = 10; // asked for beside each token
export const [LEVELS, BITS] = [6, 2]; // colours, and the bits from one to the next

/**
 * Tokens out of a completion's `logprobs`, each {name, from, to, logprob, top}. The server counts
 * code points, `points` of them before this text; we count as strings do, from `start`.
 */
export function placed({ tokens, token_logprobs, top_logprobs, text_offset }, text, start, points = 0) {
  let at = 0;
  const begins = text_offset.map((offset) => {
    for (; points < offset && at < text.length; points++) at += text.codePointAt(at) > 0xffff ? 2 : 1;
    return start + at;
  });
  return tokens.map((name, i) => {
    const [from, to] = [begins[i], begins[i + 1] ?? start + text.length];
    return { name, from, to, logprob: nats(token_logprobs[i]), top: top_logprobs[i] };
  });
}

/**
 * The last tokens, of those behind a place, that fill a window. Those that share a character are
 * taken together: {from, to, bits, parts}; null bits are not known.
 */
export function spansOf(tokens, sight = 0, size = Infinity) {
  const spans = [];
  let parts = [];
  for (const token of tokens.slice(-size).filter(({ from }) => from >= sight)) {
    parts.push(token);
    if (token.to === parts[0].from) continue; // the next one goes on within the same character
    const sum = parts.reduce((nats, { logprob }) => nats + logprob, 0);
    const bits = parts[0].logprob === null ? null : -sum / Math.LN2;
    spans.push({ from: parts[0].from, to: token.to, bits, parts });
    parts = [];
  }
  return spans;
}

// The server's least number stands for minus infinity, which JSON does not have.
const nats = (logprob) => (logprob <= -9999 ? -Infinity : logprob);

export const levelOf = (bits) => Math.min(LEVELS, Math.floor(bits / BITS));

/** What could have stood where a span begins, likeliest first; the one that does may come last. */
export function alternatives({ parts: [{ name, top }] }) {
  return Object.entries(top ?? {})
    .map(([text, logprob]) => ({ text, p: Math.exp(nats(logprob)), chosen: text === name }))
    .sort((a, b) => b.p - a.p)
    .map((one, i) => ({ ...one, rank: i < ALTERNATIVES ? i + 1 : null }));
}

/** Bytes that are no text alone cannot be put into one. */
export const isText = (name) => !/^bytes:(\\x[0-9a-f]{2})+$/.test(name);

/** A token as it is shown. */
export const shown = (name) => (isText(name) ? visible(name) : name.slice("bytes:".length));

/** A probability in per cent. */
export const percent = (p) => (p < 1e-6 ? "<0.0001 %" : `${(100 * p).toPrecision(3)} %`);
