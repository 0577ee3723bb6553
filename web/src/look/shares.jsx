// A short list of names, each with its share of one: as a number, and as a line below it.
import { short } from "./colours.js";

/** `items` are [name, share] each. */
export function Shares({ items, label }) {
  return (
    <ol class="shares" aria-label={label}>
      {items.map(([name, share], i) => (
        <li key={i} class="share" style={{ "--share": share }}>
          <span>{name}</span> <b>{short(share)}</b>
        </li>
      ))}
    </ol>
  );
}
