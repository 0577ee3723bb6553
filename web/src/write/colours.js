// Colours behind letters, by ranges and not by elements: elements would part letters that are
// shaped together, and the letters above them would no longer lie where they lie.
import { levelOf } from "./surprise.js";

export const canPaint = "Highlight" in globalThis;

const nodesOf = (ink) => [...ink.querySelectorAll("span")].map((span) => span.firstChild);

/** Where a part of the text stands. */
export function rangeOf(ink, { from, to }, nodes = nodesOf(ink)) {
  const range = new Range();
  let at = 0;
  for (const node of nodes) {
    if (at <= from && from < at + node.length) range.setStart(node, from - at);
    if (at < to && to <= at + node.length) range.setEnd(node, to - at);
    at += node.length;
  }
  return range;
}

/** Colour the spans, underline one; what is returned takes it all away. */
export function paint(ink, spans, picked) {
  if (!canPaint) return undefined;
  const nodes = nodesOf(ink);
  const painted = spans.map((span) => [`surprise-${levelOf(span.bits)}`, rangeOf(ink, span, nodes)]);
  if (picked) painted.push(["picked", rangeOf(ink, picked, nodes)]);
  for (const [name, range] of painted) {
    if (!CSS.highlights.has(name)) CSS.highlights.set(name, new Highlight());
    CSS.highlights.get(name).add(range);
  }
  return () => painted.forEach(([name, range]) => CSS.highlights.get(name).delete(range));
}

/** The span under a point of the screen. A line's end has no width, and is given some. */
export function spanAt(ink, spans, { clientX: x, clientY: y }) {
  const nodes = nodesOf(ink);
  const holds = (b) => y >= b.top && y <= b.bottom && x >= b.left && x <= b.left + (b.width || 9);
  return spans.find((span) => [...rangeOf(ink, span, nodes).getClientRects()].some(holds));
}
