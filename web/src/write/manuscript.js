// A text of two hands: `marks` are the ranges [from, to) that the model wrote, in order. `sight` is
// where the part begins that the model still sees. All functions return a new manuscript.

/** Under which it is kept by the tab; another number when its form changes. */
export const DRAFT = "draft-1";

export const blank = { text: "", marks: [], sight: 0 };

/** The manuscript with a piece by the model at its end. */
export function append({ text, marks, sight }, piece) {
  const last = marks.at(-1);
  const to = text.length + piece.length;
  const joined =
    last?.[1] === text.length ? [...marks.slice(0, -1), [last[0], to]] : [...marks, [text.length, to]];
  return { text: text + piece, marks: piece ? joined : marks, sight };
}

/** How many characters two texts have in common at their beginnings. */
export function same(one, other) {
  let head = 0;
  while (head < Math.min(one.length, other.length) && one[head] === other[head]) head++;
  return head;
}

/**
 * The manuscript as its reader changed it: what is between the common ends is the reader's. A mark
 * that was changed within stays two, even if they touch: the reader has taken over up to there.
 */
export function edit(manuscript, text) {
  const [before, old] = [manuscript.text, manuscript.text.length];
  const shorter = Math.min(old, text.length);
  const head = same(before, text);
  let tail = 0;
  while (tail < shorter - head && before[old - 1 - tail] === text[text.length - 1 - tail]) tail++;
  const shift = text.length - old;
  const marks = manuscript.marks
    .flatMap(([from, to]) => [[from, Math.min(to, head)], [Math.max(from, old - tail) + shift, to + shift]])
    .filter(([from, to]) => from < to);
  return { text, marks, sight: Math.min(manuscript.sight, head) };
}

/** Where the reader's text ends and what the model wrote last begins. */
export function promptEnd({ text, marks }) {
  const last = marks.at(-1);
  return last?.[1] === text.length && text ? last[0] : text.length;
}

/** The manuscript without what the model wrote last. */
export const promptOf = (manuscript) => cut(manuscript, promptEnd(manuscript));

/** The manuscript up to a place. */
export function cut({ text, marks, sight }, end) {
  const left = marks.map(([from, to]) => [from, Math.min(to, end)]).filter(([from, to]) => from < to);
  return { text: text.slice(0, end), marks: left, sight: sight < end ? sight : 0 };
}

/** Pieces of the text, in order: {text, model, unseen}, and the bits of whichever of `spans` it is in. */
export function pieces({ text, marks, sight }, spans = []) {
  const ends = [...marks.flat(), ...spans.flatMap(({ from, to }) => [from, to])];
  const edges = [...new Set([0, sight, ...ends, text.length])].sort((a, b) => a - b);
  return edges.slice(0, -1).map((from, i) => ({
    text: text.slice(from, edges[i + 1]),
    model: marks.some(([start, end]) => start <= from && from < end),
    unseen: from < sight,
    bits: spans.find((span) => span.from <= from && from < span.to)?.bits,
  }));
}
