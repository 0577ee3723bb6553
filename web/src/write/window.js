// How much of a text the model can see, and what to do when it is more than that.
import { countTokens } from "../api.js";

/** How many tokens to write at most: of a window that does not slide a quarter is left to the prompt. */
export const longest = ({ minigpt2: { block_size, overflow } }) =>
  overflow === "error" ? Math.max(1, Math.floor(0.75 * block_size)) : Infinity;

/** A text without the characters that the model does not know. */
export async function known(model, text) {
  for (;;) {
    const unknown = await countTokens(model.id, text).then(() => null, (error) => error.unknown);
    if (!unknown) return text;
    text = text.replaceAll(unknown, "");
  }
}

/** The end of a text of so many tokens that takes at most some, and its number of tokens. */
export async function ending(model, text, count, most, signal) {
  while (count > most && text.length > 1) {
    const length = Math.max(1, Math.min(text.length - 1, Math.floor((text.length * most) / count)));
    text = text.slice(-length).replace(/^[\uDC00-\uDFFF]/, ""); // not from the middle of a letter
    count = await countTokens(model.id, text, signal);
  }
  return [text, count];
}

/**
 * What to send of a manuscript: {prompt, used, room}, in tokens. A server that slides or cuts by
 * itself is sent everything. Where the window is full there is no room, unless it may `slide`: the
 * model then goes on from the last half of what it saw.
 */
export async function fit(model, { text, sight }, slide, signal) {
  const { block_size: size, overflow } = model.minigpt2;
  if (overflow !== "error") return { prompt: text, used: null, room: Infinity };
  const seen = text.slice(sight);
  const count = (await countTokens(model.id, seen, signal)) || 1; // the mark of a beginning
  const most = slide && count >= size ? Math.floor(size / 2) : count;
  const [prompt, used] = await ending(model, seen, count, most, signal);
  return { prompt, used, room: size - used };
}
