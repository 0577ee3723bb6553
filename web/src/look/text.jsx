// The text that is looked at, shared by all views that look inside.
import { createContext } from "preact";
import { countTokens } from "../api.js";
import { kept } from "../kept.js";
import { DRAFT } from "../write/manuscript.js";
import { ending, known } from "../write/window.js";

const FIRST = "ROMEO:\nO Romeo, Romeo! wherefore art thou Romeo?"; // it repeats itself
const MOST = 200; // letters of it
const MOST_TOKENS = 512; // that the server looks into at once

/** {model, text, setText} of what is looked at, for who shortens it. */
export const Text = createContext({});

/** The end of a text, from a whole word on where it has several. */
const wholeWords = (end, text) => (end === text ? text : end.replace(/^\S*\s+(?=\S)/, ""));

/** What is looked at first: the end of what stands in Write, as far as it surely fits. */
export async function firstText({ id, minigpt2: { block_size: size } }) {
  const text = kept(DRAFT)?.text || (await known({ id }, FIRST));
  return wholeWords(text.slice(-Math.min(MOST, size)).replace(/^[\uDC00-\uDFFF]/, ""), text); // not half a letter
}

/** As much of a text's end as can be looked into. */
export async function lookable(model, text) {
  const most = Math.min(MOST_TOKENS, model.minigpt2.block_size);
  const [end] = await ending(model, text, await countTokens(model.id, text), most);
  return wholeWords(end, text);
}

export const TextField = ({ text, setText }) => (
  <label class="looked">
    <span class="small">
      {text === "" ? "No text: the model is asked how it would begin one" : "Text to look at; what you write in Write comes here too"}
    </span>
    <textarea rows={2} spellcheck={false} value={text} onInput={({ target }) => setText(target.value)} />
  </label>
);
