// A scale in the colours of the page as it is now, and its legend.
import { useEffect, useMemo, useState } from "preact/hooks";
import { SEQUENTIAL, makeScale, rgbOf, short } from "./colours.js";
import { Pixels } from "./pixels.jsx";

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is dark; who draws by hand draws anew when that changes. */
export function useScheme() {
  const [scheme, setScheme] = useState(dark.matches);
  useEffect(() => {
    const change = () => setScheme(dark.matches);
    dark.addEventListener("change", change);
    return () => dark.removeEventListener("change", change);
  }, []);
  return scheme;
}

/** The scale from `from` to `to` over the page's variables `names`; new with every scheme. */
export function useScale(from, to, names = SEQUENTIAL) {
  const scheme = useScheme();
  return useMemo(() => {
    const style = getComputedStyle(document.documentElement);
    return makeScale(names.map((name) => rgbOf(style.getPropertyValue(name))), from, to);
  }, [scheme, from, to, names]);
}

const STEPS = 64;

export function Scale({ scale, label, tell = short }) {
  const { from, to } = scale;
  const value = (_, i) => from + ((to - from) * i) / (STEPS - 1);
  const values = Float32Array.from({ length: STEPS }, value);
  return (
    <p class="scale">
      {label && <span>{label}</span>}
      <span>{tell(from)}</span>
      <Pixels values={values} rows={1} cols={STEPS} scale={scale} />
      <span>{tell(to)}</span>
    </p>
  );
}
