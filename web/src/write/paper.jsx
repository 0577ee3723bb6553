// The paper: a textarea whose letters are invisible lies exactly over the same text in the colours
// of its two hands. So it is edited like any text, and nothing but plain text is ever put in.
import { useLayoutEffect, useRef } from "preact/hooks";
import { pieces } from "./manuscript.js";

const NEAR = 60; // px from the end in which the paper follows what is written

export function Paper({ manuscript, running, onType }) {
  const scroller = useRef();
  const following = useRef(true);
  const onScroll = ({ currentTarget: s }) =>
    (following.current = s.scrollHeight - s.scrollTop - s.clientHeight < NEAR);
  const ran = useRef(false); // a message at the end takes room as well
  useLayoutEffect(() => {
    const { current: s } = scroller;
    if ((running || ran.current) && following.current) s.scrollTop = s.scrollHeight;
    ran.current = running;
  }, [manuscript, running]);
  return (
    <div class="paper" ref={scroller} onScroll={onScroll}>
      <div class="stack">
        <div class="ink" aria-hidden="true">
          {pieces(manuscript).map(({ text, model, unseen }, i) => (
            <span key={i} class={`${model ? "model" : ""} ${unseen ? "unseen" : ""}`}>{text}</span>
          ))}
          {running && <i class="pen" />}
          {"\u200b" /* a last empty line has height only with something in it */}
        </div>
        <textarea
          aria-label="Your text; the model writes on at its end"
          placeholder="Begin a text, then let the model write on …"
          value={manuscript.text}
          readOnly={running}
          spellcheck={false}
          autofocus
          onInput={(event) => onType(event.target.value)}
        />
      </div>
    </div>
  );
}
