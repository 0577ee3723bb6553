// Tokens as people can see and say them. A token may be anything, so nothing of it steers the page.

const SIGNS = { "\n": "⏎", " ": "·", "\t": "⇥" };
const NAMES = { "\n": "newline", " ": "blank", "\t": "tab" };
// Letters that are not seen, or that turn the ones around them: all but the joiner within emoji.
const UNSEEN = /(?!\u200d)[\p{C}\p{Z}\u115f\u1160\u3164]/gu;

const code = (letter) => `\\u${letter.codePointAt(0).toString(16).padStart(4, "0")}`;

export const visible = (text) => text.replace(UNSEEN, (letter) => SIGNS[letter] ?? code(letter));

/** What is typed for a token, where signs stand for what a field does not take. */
export const typed = (text) =>
  text?.replace(/[⏎·⇥]/g, (sign) => Object.keys(SIGNS).find((letter) => SIGNS[letter] === sign));

/** A token's name in words, for who hears it or points at it. */
export function named(text) {
  if (text === "") return "nothing";
  const all = [...text].map((letter) => NAMES[letter]);
  return all.every(Boolean) ? all.join(", ") : `“${visible(text)}”`;
}
