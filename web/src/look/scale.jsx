// A scale in the colours of the page as it is now, and its legend.
import { useEffect, useMemo, useReducer } from "preact/hooks";
import { SEQUENTIAL, makeScale, rgbOf, short } from "./colours.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is dark; who draws by hand draws anew when that changes. */
export function useScheme() {
  const [, redraw] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    dark.addEventListener("change", redraw);
    return () => dark.removeEventListener("change", redraw);
  }, []);
  return dark.matches;
}

/** The scale from `from` to `to` over the page's variables `names`; new with every scheme. */
export function useScale(from, to, names = SEQUENTIAL) {
  const scheme = useScheme();
  return useMemo(() => {
    const style = getComputedStyle(document.documentElement);
    return makeScale(names.map((name) => rgbOf(style.getPropertyValue(name))), from, to);
  }, [scheme, from, to, names]);
}

const SHARES = Array.from({ length: 64 }, (_, i) => i / 63);

export function Scale({ scale: { from, to, rgb }, label, tell = short }) {
  const colours = SHARES.map((share) => `rgb(${rgb(from + share * (to - from))})`);
  return (
    <p class="scale">
      {label} {tell(from)} <i style={{ background: `linear-gradient(90deg, ${colours})` }} /> {tell(to)}
    </p>
  );
}

/**
 * A short list of [name, share of one, what is told of it, style]: each share as a line below it.
 * The style may say "--bar", the line's colour, and "--was", the share that it was before.
 */
export const Shares = ({ items, label }) => (
  <ol class="shares" aria-label={label}>
    {items.map(([name, share, told = short(share), style], i) => (
      <li key={i} class="share" style={{ "--share": share, ...style }}><span>{name}</span> <b>{told}</b></li>
    ))}
  </ol>
);
