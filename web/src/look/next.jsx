// What could come next, and what the settings of Write leave of it.
import { useMemo } from "preact/hooks";
import { useAddressed } from "../address.js";
import { Slider } from "../write/controls.jsx";
import { SETTINGS, addressOf, settingsFrom } from "../write/settings.js";
import { Frame } from "./frame.jsx";
import { useInspect } from "./inspect.js";
import { distributions, entropy } from "./sampling.js";
import { named, visible } from "./visible.js";

const PART_OF_A_LETTER = /^bytes:(\\x[0-9a-f]{2})+$/; // so the API spells what is no text alone

/** A share as a percentage, with as many digits as tell it from its neighbours. */
const percent = (share) =>
  share > 0 && share < 1e-5 ? "< 0.001 %" : `${(100 * share).toFixed(share < 0.01 ? 3 : 2)} %`;

export function Next({ model, text, setText }) {
  const look = useInspect(model, text, { view: "next" });
  const [values, put] = useAddressed();
  const settings = settingsFrom(values);
  const controls = (
    <div class="sliders">
      {SETTINGS.filter(({ name }) => name !== "length").map((setting) => (
        <Slider key={setting.name} setting={setting} value={settings[setting.name]}
          onChange={(value) => put(addressOf({ ...settings, [setting.name]: value }))} />))}
    </div>
  );
  return (
    <Frame name="next" look={look} controls={controls}>
      {look.data && <Candidates {...look.data} settings={settings} choose={(token) => setText(text + token)} />}
    </Frame>
  );
}

function Candidates({ tokens, logits, likeliest: { ids, texts }, settings, choose }) {
  const changing = [logits, ...Object.values(settings)];
  const { before, after } = useMemo(() => distributions(logits.values, settings), changing);
  const left = before.filter((_, id) => after[id] > 0);
  const held = left.reduce((sum, p) => sum + p, 0);
  const most = Math.max(before[ids[0]], after[ids[0]]);
  return (
    <>
      <p class="tell">After <code>{visible(tokens.texts.slice(-16).join(""))}</code></p>
      <p role="status">
        <b>{left.length.toLocaleString("en")} of {after.length.toLocaleString("en")}</b>{" "}
        {left.length === 1 ? "token remains" : "tokens remain"}, <b>{percent(held)}</b> of the probability.
        Entropy: <b>{entropy(before).toFixed(2)}</b> bits before, <b>{entropy(after).toFixed(2)}</b> after.
      </p>
      <div class="scrolled">
        <table class="list candidates">
          <thead><tr>
            <th>Token</th><th /><th class="before">Before</th><th class="after">After</th><th>Logit</th>
          </tr></thead>
          <tbody>{ids.map((id, i) => [
            after[id] === 0 && after[ids[i - 1]] > 0 && (
              <tr key="cut" class="cut"><td colSpan={5}>Cut off: {percent(1 - held)} of the probability</td></tr>),
            <tr key={i}>
              <td>
                <button class="token" aria-label={`Write ${named(texts[i])}`}
                  disabled={PART_OF_A_LETTER.test(texts[i])} onClick={() => choose(texts[i])}>
                  {visible(texts[i])}
                </button>
              </td>
              <td><i class="share" style={{ "--was": before[id] / most, "--share": after[id] / most }} /></td>
              <td title={before[id]}>{percent(before[id])}</td>
              <td title={after[id]}>{after[id] > 0 ? percent(after[id]) : "–"}</td>
              <td>{logits.values[id].toFixed(2)}</td>
            </tr>])}
          </tbody>
        </table>
      </div>
    </>
  );
}
