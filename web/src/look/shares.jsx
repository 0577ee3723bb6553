// A short list of [name, share of one, what is said of it]: said, and as a line below it.
import { short } from "./colours.js";

export const Shares = ({ items, label }) => (
  <ol class="shares" aria-label={label}>
    {items.map(([name, share, said = short(share)], i) => (
      <li key={i} class="share" style={{ "--share": share }}><span>{name}</span> <b>{said}</b></li>
    ))}
  </ol>
);
