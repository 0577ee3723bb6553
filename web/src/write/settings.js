// What can be set: its bounds, its start, and what a value means, in words.

export const PROMPT_IN_ADDRESS = 2000;

export const SETTINGS = [
  {
    name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, start: 0.8,
    tell: (v) =>
      v === 0 ? "always the likeliest token" : v < 1 ? "safer than the model itself" :
      v === 1 ? "the model’s own chances" : "bolder than the model itself",
  },
  {
    name: "top_k", label: "Top-k", min: 0, max: 200, step: 1, start: 0, off: 0,
    tell: (v) => (v ? `among the ${v} likeliest tokens` : "off: among all tokens"),
  },
  {
    name: "top_p", label: "Top-p", min: 0.01, max: 1, step: 0.01, start: 1,
    tell: (v) => (v < 1 ? `the likeliest, ${Math.round(v * 100)} % together` : "off: however unlikely"),
  },
  {
    name: "min_p", label: "Min-p", min: 0, max: 1, step: 0.01, start: 0,
    tell: (v) => (v ? `at least ${Math.round(v * 100)} % of the likeliest` : "off"),
  },
  {
    name: "length", label: "Length", min: 1, max: 2000, step: 1, start: 200,
    tell: (v) => `at most ${v} ${v === 1 ? "token" : "tokens"} at a time`,
  },
];

export const MAX_SEED = 2 ** 32 - 1;

/** A number within its bounds, or the one that was; what is typed may be anything. */
export function within(value, { min, max, step }, before) {
  const number = value === "" ? NaN : Number(value);
  if (!Number.isFinite(number)) return before;
  const stepped = Number.isInteger(step) ? Math.round(number) : number;
  return Math.min(max, Math.max(min, stepped));
}

/** Settings out of the address's text. */
export function settingsFrom(address) {
  const settings = { seed: 1337, lock: address.lock === "1", surprise: address.surprise === "1" };
  for (const s of SETTINGS) settings[s.name] = within(address[s.name] ?? "", s, s.start);
  settings.seed = within(address.seed ?? "", { min: 0, max: MAX_SEED, step: 1 }, settings.seed);
  return settings;
}

/** ... and back; what is as at the start takes no room there. */
export function addressOf(settings) {
  const entries = SETTINGS.map((s) => [s.name, settings[s.name] === s.start ? null : settings[s.name]]);
  const { seed, lock, surprise } = settings;
  return { ...Object.fromEntries(entries), seed, lock: lock ? "1" : null, surprise: surprise ? "1" : null };
}
