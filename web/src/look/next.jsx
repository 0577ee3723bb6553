// What could come next, and what the settings of Write leave of it.
import { useMemo, useState } from "preact/hooks";
import { address, setAddress } from "../address.js";
import { Slider } from "../write/controls.jsx";
import { SETTINGS, addressOf, settingsFrom } from "../write/settings.js";
import { Frame } from "./frame.jsx";
import { useInspect } from "./inspect.js";
import { distributions, entropy } from "./sampling.js";
import { named, visible } from "./visible.js";
import "./next.css";

const PAGE = 20;
const REQUEST = { view: "next" };
const SHAPING = SETTINGS.filter(({ name }) => name !== "length");
const PART_OF_A_LETTER = /^bytes:(\\x[0-9a-f]{2})+$/; // so the API spells what is no text alone

/** A share as a percentage, with as many digits as tell it from its neighbours. */
const percent = (share) =>
  share > 0 && share < 1e-5 ? "< 0.001 %" : `${(100 * share).toFixed(share < 0.01 ? 3 : 2)} %`;

export function Next({ model, text, setText }) {
  const look = useInspect(model, text, REQUEST);
  const [settings, setSettings] = useState(() => settingsFrom(address()));
  const change = (values) => {
    const changed = { ...settings, ...values };
    setSettings(changed);
    setAddress(addressOf(changed));
  };
  const controls = (
    <div class="sliders">
      {SHAPING.map((setting) => (
        <Slider key={setting.name} setting={setting} value={settings[setting.name]}
          onChange={(value) => change({ [setting.name]: value })} />
      ))}
    </div>
  );
  const legend = (
    <>
      <p>
        <i class="bar before" /> before the settings: the model’s own probability
        <i class="bar after" /> after the settings
      </p>
      <p>
        The settings are those of Write. A token that is chosen is written at the end of the text,
        which may then be split into other tokens.
      </p>
    </>
  );
  return (
    <Frame name="next" title="Next token" look={look} controls={controls} legend={legend}
      question="What could come next, and what do the settings leave of it?">
      {look.data && (
        <Candidates {...look.data} settings={settings} choose={(token) => setText(text + token)} />
      )}
    </Frame>
  );
}

function Candidates({ tokens, logits, likeliest, settings, choose }) {
  const [count, setCount] = useState(PAGE);
  const { temperature, top_k, top_p, min_p } = settings;
  const { before, after } = useMemo(
    () => distributions(logits.values, settings),
    [logits, temperature, top_k, top_p, min_p],
  );
  const ids = likeliest.ids.slice(0, count);
  const most = ids.reduce((a, id) => Math.max(a, before[id], after[id]), 0);
  const share = (p) => `${(100 * p) / most}%`;
  const left = after.reduce((n, p) => n + (p > 0), 0);
  const held = after.reduce((sum, p, id) => sum + (p > 0 ? before[id] : 0), 0);
  const cut = ids.findLastIndex((id) => after[id] > 0) + 1;
  return (
    <>
      <p class="ending">After <code>{visible(tokens.texts.slice(-16).join(""))}</code></p>
      <p role="status">
        <b>{left.toLocaleString("en")} of {after.length.toLocaleString("en")}</b>{" "}
        {left === 1 ? "token remains" : "tokens remain"}, <b>{percent(held)}</b> of the probability.
        Entropy: <b>{entropy(before).toFixed(2)}</b> bits before,{" "}
        <b>{entropy(after).toFixed(2)}</b> after.
      </p>
      <table class="candidates">
        <thead>
          <tr>
            <th>Token</th><th class="bars" /><th>Before</th><th>After</th><th class="logit">Logit</th>
          </tr>
        </thead>
        <tbody>
          {ids.map((id, i) => [
            i === cut && (
              <tr key="cut" class="cut">
                <td colSpan={5}>Cut off: {percent(1 - held)} of the probability</td>
              </tr>
            ),
            <tr key={i} class={after[id] > 0 ? "" : "gone"}>
              <td>
                <button class="token" aria-label={`Write ${named(likeliest.texts[i])}`}
                  disabled={PART_OF_A_LETTER.test(likeliest.texts[i])}
                  onClick={() => choose(likeliest.texts[i])}>
                  {visible(likeliest.texts[i])}
                </button>
              </td>
              <td class="bars" aria-hidden="true">
                <i class="bar before" style={{ width: share(before[id]) }} />
                {after[id] > 0 && <i class="bar after" style={{ width: share(after[id]) }} />}
              </td>
              <td title={before[id]}>{percent(before[id])}</td>
              <td title={after[id]}>{after[id] > 0 ? percent(after[id]) : "–"}</td>
              <td class="logit">{logits.values[id].toFixed(2)}</td>
            </tr>,
          ])}
        </tbody>
      </table>
      {count < likeliest.ids.length && (
        <button class="more unpictured" onClick={() => setCount(count + 2 * PAGE)}>
          Show more tokens
        </button>
      )}
    </>
  );
}
