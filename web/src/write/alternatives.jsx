// What could have stood in a token's place: a small list beside it, to look at and to branch from.
import { useLayoutEffect, useRef } from "preact/hooks";
import { moveByKey } from "../look/grid.js";
import { rangeOf } from "./colours.js";
import { alternatives, isText, percent, shown } from "./surprise.js";

const ROOM = 330; // px that the list may be tall

/** Put the list under its token, or over it where there is more room. */
export function place(peek, ink, span) {
  const [box] = rangeOf(ink, span).getClientRects();
  if (!box) return;
  const over = box.bottom + ROOM > innerHeight && box.top > innerHeight / 2;
  const left = Math.max(8, Math.min(box.left - 12, innerWidth - peek.offsetWidth - 8));
  const [top, bottom] = over ? ["auto", `${innerHeight - box.top}px`] : [`${box.bottom}px`, "auto"];
  Object.assign(peek.style, { left: `${left}px`, top, bottom });
}

/** Escape closes; within the list the arrows go up and down it, and to the tokens left and right. */
function useArrows(peek, close, step) {
  useLayoutEffect(() => { // not later: an effect that is late outlives the list
    const press = (event) => {
      const row = peek.current.contains(event.target) && event.target;
      const beside = { "-1": row.previousSibling, 1: row.nextSibling };
      if (row) moveByKey(event, (down, right) => (down ? beside[down]?.focus() : step(right)));
      if (event.key !== "Escape") return;
      close();
      event.stopPropagation(); // it would stop the writing as well
    };
    addEventListener("keydown", press, true);
    return () => removeEventListener("keydown", press, true);
  });
}

export function Alternatives({ span, ink, byKey, close, branch, step }) {
  const peek = useRef();
  const all = alternatives(span);
  useArrows(peek, close, step);
  useLayoutEffect(() => place(peek.current, ink.current, span));
  useLayoutEffect(() => { // at once, or the next key finds no row
    if (byKey) (peek.current.querySelector(".chosen") ?? peek.current).focus();
  }, [span.from, byKey]);
  return (
    <div class="peek" ref={peek} tabIndex={-1} role="group" aria-label="Alternatives">
      <Chosen span={span} one={all.find(({ chosen }) => chosen)} />
      <div>{all.map((one) => <Row key={one.text} {...one} branch={isText(one.text) && branch} />)}</div>
      {branch && all.length > 0 && <p class="small">Choose one to write on from here.</p>}
    </div>
  );
}

const Row = ({ text, p, rank, chosen, branch }) => (
  <button class={chosen ? "chosen" : ""} aria-current={chosen} aria-disabled={!branch}
    onClick={() => branch && branch(text)}>
    <i style={{ transform: `scaleX(${p})` }} />
    <span class="rank">{rank ?? "…"}</span> <code>{shown(text)}</code> <span>{percent(p)}</span>
  </button>
);

function Chosen({ span: { bits, parts }, one }) {
  const rank = one?.rank ? `rank ${one.rank}` : "not among the 10 likeliest";
  return (
    <p role="status">
      <b>{parts.map(({ name }) => shown(name)).join("")}</b>
      {one && <span><b class="bits">{bits.toFixed(2)}</b> bits, {percent(Math.exp(parts[0].logprob))}, {rank}</span>}
      {!one && <span>The first token in sight: nothing stands before it to foresee it from.</span>}
      {parts.length > 1 && <span>{parts.length} tokens, their bits added; below, the first one’s place</span>}
    </p>
  );
}
