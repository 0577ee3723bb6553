// What can be set: its bounds, its start, and what a value means, in words.
import { filled } from "../filled.js";
import SETTINGS from "./settings.json" with { type: "json" };

export { SETTINGS };
export const PROMPT_IN_ADDRESS = 2000;
export const SEED = { name: "seed", min: 0, max: 2 ** 32 - 1, step: 1, start: 1337 };
const SWITCHES = ["lock", "surprise"];

/** What a value means: `tells` are words, each for the values up to a bound. */
export const tell = ({ tells }, value) =>
  filled(tells.find(([most]) => value <= most)[1], { value, percent: Math.round(100 * value) });

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
