// From numbers to colours: a table of 256 between the page's own, so that every scheme fits.

export const SEQUENTIAL = ["--sheet", "--accent"];
export const OTHER = ["--sheet", "--warn"]; // of a second quantity beside the first
export const THIRD = ["--sheet", "--third"];
export const DIVERGING = ["--warn", "--sheet", "--accent"];

/** [r, g, b] of "#rgb" or "#rrggbb". */
export function rgbOf(text) {
  const digits = text.trim().slice(1).replace(/^(.)(.)(.)$/, "$1$1$2$2$3$3");
  return digits.match(/../g).map((part) => parseInt(part, 16));
}

/** Colours evenly between the stops, as [r, g, b] each. */
export const ramp = (stops, count = 256) => Array.from({ length: count }, (_, i) => {
  const place = (i / (count - 1)) * (stops.length - 1);
  const at = Math.min(Math.floor(place), stops.length - 2);
  return stops[at].map((from, k) => Math.round(from + (place - at) * (stops[at + 1][k] - from)));
});

/** Nearly the relative luminance of WCAG 2.2, which has another curve for the darkest. */
const luminance = (rgb) =>
  [0.2126, 0.7152, 0.0722].reduce((sum, part, k) => sum + part * (rgb[k] / 255) ** 2.2, 0);

/** A scale: values between `from` and `to` (beyond them: as there) to colours; NaN to none. */
export function makeScale(stops, from, to) {
  const table = ramp(stops);
  const share = (value) => Math.min(1, Math.max(0, (value - from) / (to - from || 1)));
  const rgb = (value) => (Number.isNaN(value) ? null : table[Math.round(255 * share(value))]);
  /** How a box of that colour is drawn, its letters black or white, whichever is read better. */
  const style = (value) => {
    const c = rgb(value);
    return c ? { background: `rgb(${c})`, color: luminance(c) > 0.179 ? "#000" : "#fff" } : {};
  };
  return { from, to, rgb, style };
}

const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** A change, with its sign: "+0.512", "−0.020", "0.000". */
export function signed(value, digits = 3) {
  const places = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString("en", { signDisplay: "exceptZero", ...places }).replace("-", "−");
}

/** A number short enough for a label: "0.0312", "−1.5", "3.1e-7", "undefined". */
export function short(value) {
  if (Number.isNaN(value)) return "undefined";
  const tiny = value !== 0 && Math.abs(value) < 1e-4;
  return (tiny ? value.toExponential(1) : number.format(value)).replace(/^-/, "−");
}
