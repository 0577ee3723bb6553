// A text as its tokens, in reading order: one stop of the Tab key, arrow keys within.
import { useRef, useState } from "preact/hooks";
import { named, visible } from "./visible.js";

const MOVES = {
  ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity,
};
const indexOf = (event) => event.target.closest("[data-i]")?.dataset.i;

/**
 * `current` is a position, or null; listeners are told positions, onHover null as well. colourOf(i)
 * is a style (see makeScale) or nothing, labelOf(i) what is said of the token besides its name.
 */
export function Tokens({
  tokens, current = null, onPick, onHover, colourOf, labelOf, label = "Tokens",
}) {
  const list = useRef();
  const [over, setOver] = useState(null);
  const last = tokens.texts.length - 1;
  const stop = Math.min(current ?? 0, last); // where the Tab key comes in
  const tell = (i) => [`${i}: ${named(tokens.texts[i])}`, labelOf?.(i)].filter(Boolean).join(", ");
  const look = (event) => {
    const i = event === null ? null : Number(indexOf(event) ?? NaN);
    if (Number.isNaN(i) || i === over) return;
    setOver(i);
    onHover?.(i);
  };
  const pick = (event) => indexOf(event) !== undefined && onPick?.(Number(indexOf(event)));
  const press = (event) => {
    if (event.key in MOVES) {
      const to = Math.min(last, Math.max(0, Number(indexOf(event)) + MOVES[event.key]));
      list.current.querySelector(`[data-i="${to}"]`).focus();
    } else if (event.key === "Enter" || event.key === " ") pick(event);
    else return;
    event.preventDefault();
  };
  const told = over ?? current;
  return (
    <div class="text">
      <div class="tokens" ref={list} role="listbox" aria-label={label} aria-orientation="horizontal"
        onPointerOver={look} onPointerLeave={() => look(null)} onFocusIn={look}
        onFocusOut={() => look(null)} onClick={pick} onKeyDown={press}>
        {tokens.texts.map((text, i) => [
          /^\s/.test(text) && <wbr key={`before ${i}`} />,
          <span key={i} class="token" role="option" data-i={i} tabIndex={i === stop ? 0 : -1}
            aria-selected={i === current} aria-label={tell(i)} style={colourOf?.(i) ?? {}}>
            {visible(text)}
          </span>,
          text.endsWith("\n") && <br key={`line ${i}`} />,
          /[^\n\S]$/.test(text) && <wbr key={`after ${i}`} />,
        ])}
      </div>
      <p class="tell" aria-hidden="true">{told !== null && told <= last ? tell(told) : "\u00a0"}</p>
    </div>
  );
}
