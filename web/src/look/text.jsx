// The text that is looked at, shared by all views that look inside.
import { kept } from "../kept.js";
import { DRAFT } from "../write/manuscript.js";

const FIRST = "ROMEO:\nO Romeo, Romeo! wherefore art thou Romeo?"; // it repeats itself
const MOST = 200; // letters

/** What is looked at first: the end of what stands in Write, as far as it surely fits. */
export function firstText({ block_size: size }) {
  const text = kept(DRAFT)?.text || FIRST;
  return text.slice(-Math.min(MOST, size)).replace(/^[\uDC00-\uDFFF]/, ""); // not half a letter
}

export const TextField = ({ text, setText }) => (
  <label class="looked">
    <span class="small">Text to look at</span>
    <textarea rows={2} spellcheck={false} value={text} onInput={({ target }) => setText(target.value)} />
  </label>
);
