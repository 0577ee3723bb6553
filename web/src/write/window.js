// How much of a text the model can see, and what to do when it is more than that.
import { countTokens } from "../api.js";

export class WindowFull extends Error {}

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
 * itself is sent everything. Raises WindowFull where nothing fits any more; with `slide` the model
 * then goes on from the last half of what it saw, and with `slide` "now" it does so at once.
 */
export async function fit(model, manuscript, slide, signal) {
  const { block_size: size, overflow } = model.minigpt2;
  let prompt = manuscript.text.slice(manuscript.sight);
  if (overflow !== "error") return { prompt: manuscript.text, used: null, room: Infinity };
  let used = prompt ? await countTokens(model.id, prompt, signal) : 1; // the mark of a beginning
  if (used >= size && !slide) throw new WindowFull();
  if (used >= size || slide === "now") {
    [prompt, used] = await ending(model, prompt, used, Math.floor(size / 2), signal);
  }
  return { prompt, used, room: size - used };
}
