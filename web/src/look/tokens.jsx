// A text as its tokens, in reading order: one stop of the Tab key, arrow keys within.
import { useState } from "preact/hooks";
import { moveByKey, within } from "./grid.js";
import { named, visible } from "./visible.js";

/**
 * `current` is a position, or null; listeners are told positions, onHover null as well. colourOf(i)
 * is a style (see makeScale) or nothing, labelOf(i) what is said of the token besides its name.
 */
export function Tokens({
  tokens: { texts }, current = null, onPick, onHover, colourOf, labelOf, label = "Tokens",
}) {
  const [over, setOver] = useState(null);
  const stop = within(current ?? 0, texts.length); // where the Tab key comes in
  const told = over ?? current;
  const tell = (i) => [`${i}: ${named(texts[i])}`, labelOf?.(i)].filter(Boolean).join(", ");
  const look = (i) => (setOver(i), onHover?.(i));
  const press = (event, i) => {
    const all = event.currentTarget.parentNode.querySelectorAll(".token");
    moveByKey(event, (down, right) => all[within(i + down + right, all.length)].focus(), () => onPick?.(i));
  };
  return (
    <div>
      <div class="tokens" role="listbox" aria-label={label} aria-orientation="horizontal"
        onPointerLeave={() => look(null)} onFocusOut={() => look(null)}>
        {texts.map((text, i) => [
          (/^\s/.test(text) || /\s$/.test(texts[i - 1])) && <wbr key={`before ${i}`} />,
          <span key={i} class="token" role="option" tabIndex={i === stop ? 0 : -1} style={colourOf?.(i) ?? {}}
            aria-selected={i === current} aria-label={tell(i)} onPointerEnter={() => look(i)}
            onFocus={() => look(i)} onClick={() => onPick?.(i)} onKeyDown={(event) => press(event, i)}>
            {visible(text)}
          </span>,
          text.endsWith("\n") && <br key={`line ${i}`} />,
        ])}
      </div>
      <p class="tell" aria-hidden="true">{told !== null && told < texts.length && tell(told)}</p>
    </div>
  );
}
