// A short list of [name, share of one, what is told of it, style]: each share as a line below it.
// The style may say "--bar", the line's colour, and "--was", the share that it was before.
import { short } from "./colours.js";

export const Shares = ({ items, label }) => (
  <ol class="shares" aria-label={label}>
    {items.map(([name, share, told = short(share), style], i) => (
      <li key={i} class="share" style={{ "--share": share, ...style }}><span>{name}</span> <b>{told}</b></li>
    ))}
  </ol>
);
