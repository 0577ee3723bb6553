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

export const SEED = { name: "seed", min: 0, max: 2 ** 32 - 1, step: 1, start: 1337 };
const SWITCHES = ["lock", "surprise"];

/** A number within its bounds, or the one that was; what is typed may be anything. */
export function within(value, { min, max, step }, before) {
  const number = value === "" ? NaN : Number(value);
  if (!Number.isFinite(number)) return before;
  const stepped = Number.isInteger(step) ? Math.round(number) : number;
  return Math.min(max, Math.max(min, stepped));
}

/** Settings out of the address's text. */
export function settingsFrom(address) {
  const numbers = [...SETTINGS, SEED].map((s) => [s.name, within(address[s.name] ?? "", s, s.start)]);
  const switches = SWITCHES.map((name) => [name, address[name] === "1"]);
  return Object.fromEntries([...numbers, ...switches]);
}

/** ... and back; what is as at the start takes no room there. */
export function addressOf(settings) {
  const numbers = SETTINGS.map((s) => [s.name, settings[s.name] === s.start ? null : settings[s.name]]);
  const switches = SWITCHES.map((name) => [name, settings[name] ? "1" : null]);
  return { ...Object.fromEntries([...numbers, ...switches]), seed: settings.seed };
}
