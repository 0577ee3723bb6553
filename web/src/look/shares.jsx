// A short list of [name, share of one]: each share as a number, and as a line below it.
import { short } from "./colours.js";

export const Shares = ({ items, label }) => (
  <ol class="shares" aria-label={label}>
    {items.map(([name, share], i) => (
      <li key={i} class="share" style={{ "--share": share }}><span>{name}</span> <b>{short(share)}</b></li>
    ))}
  </ol>
);
