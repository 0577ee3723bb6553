// The paper: a textarea whose letters are invisible lies exactly over the same text in the colours
// of its two hands. So it is edited like any text, and nothing but plain text is ever put in.
// A paper without `onType` is there to be read. A picture is made of elements, so that while a paper
// is `pictured` its colours are some, too.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Alternatives } from "./alternatives.jsx";
import { paint, spanAt } from "./colours.js";
import { pieces } from "./manuscript.js";
import { levelOf } from "./surprise.js";

const NEAR = 60; // px from the end in which the paper follows what is written
const [DWELL, GRACE] = [100, 250]; // ms until a token that is pointed at counts: the first, the next

/** The token whose alternatives are shown, and the ways to choose it: pointing, tapping, Alt + ↓. */
function usePick(ink, spans) {
  const [{ place, byKey }, setPicked] = useState({});
  const timer = useRef();
  const span = spans.find(({ from }) => from === place);
  const pick = (one, byKey = false) => {
    clearTimeout(timer.current);
    setPicked({ place: one?.from, byKey });
  };
  const within = (event) => event.target.closest(".peek");
  const point = (event) => {
    if ((event.pointerType === "mouse") === (event.type === "pointerup")) return;
    clearTimeout(timer.current);
    if (byKey || within(event) || !spans.length) return;
    timer.current = setTimeout(() => pick(spanAt(ink.current, spans, event)), span ? GRACE : DWELL);
  };
  const press = (event) => {
    if (!event.altKey || event.key !== "ArrowDown" || within(event)) return;
    const caret = event.target.selectionStart ?? Infinity;
    pick(spans.findLast(({ from }) => from < caret) ?? spans[0], true);
    event.preventDefault();
  };
  const leave = (event) => within(event) || pick(null);
  const points = { onPointerMove: point, onPointerLeave: point, onPointerUp: point };
  return { span, byKey, pick, handlers: { ...points, onPointerDown: leave, onKeyDown: press } };
}

export function Paper({ writer, onType, label, pictured }) {
  const { manuscript, running, tokens, run } = writer;
  const [scroller, ink, field] = [useRef(), useRef(), useRef()];
  const following = useRef(true);
  const [, redraw] = useState(0);
  const { sight } = manuscript;
  const spans = useMemo(() => writer.spans, [tokens, sight]);
  const { span, byKey, pick, handlers } = usePick(ink, spans);
  const onScroll = ({ currentTarget: s }) => {
    following.current = s.scrollHeight - s.scrollTop - s.clientHeight < NEAR;
    if (span) redraw(s.scrollTop); // the list goes with its token
  };
  useLayoutEffect(() => {
    if (run && following.current) scroller.current.scrollTop = scroller.current.scrollHeight;
  }, [manuscript, running]); // a message at the end takes room as well
  useLayoutEffect(() => pictured ? undefined : paint(ink.current, spans, span), [manuscript, spans, span, pictured]);
  useEffect(() => pick(null), [run]); // what was pointed at may be another text now
  const close = () => (pick(null), byKey && (field.current ?? ink.current).focus());
  const branch = onType && ((piece) => (close(), writer.branch(span.from, piece)));
  const step = (by) => pick(spans[spans.indexOf(span) + by] ?? span, true);
  const reading = { tabIndex: 0, role: "group", "aria-label": `What ${label} writes` };
  return (
    <div class="paper" ref={scroller} onScroll={onScroll}>
      {label && <p class="label spread"><b>{label}</b>{run && <span>{run.written} written</span>}</p>}
      <div class="stack" {...handlers}>
        <div class="ink" ref={ink} {...(onType ? { "aria-hidden": "true" } : reading)}>
          {pieces(manuscript, pictured ? spans : []).map(({ text, model, unseen, bits }, i) => (
            <span key={i} class={[model && "model", unseen && "unseen", bits && `level-${levelOf(bits)}`]
              .filter(Boolean).join(" ")}>{text}</span>
          ))}
          {running && <i class="pen" />}
          {"\u200b" /* a last empty line has height only with something in it */}
        </div>
        {onType && (
          <textarea ref={field} value={manuscript.text} readOnly={running} spellcheck={false} autofocus
            aria-label="Your text; the model writes on at its end"
            placeholder="Begin a text, then let the model write on …"
            onInput={(event) => (pick(null), onType(event.target.value))} />
        )}
        {span && <Alternatives {...{ span, ink, byKey, close, branch, step }} />}
      </div>
    </div>
  );
}
