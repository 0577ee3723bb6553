// What parts of the model are for: the text without them, and, below, what they said themselves.
import { useReducer } from "preact/hooks";
import { address, setAddress } from "../address.js";
import { Attribute } from "./attribute.jsx";
import { DIVERGING, short, signed } from "./colours.js";
import { Frame } from "./frame.jsx";
import { useInspect } from "./inspect.js";
import { Bars, Parts } from "./parts.jsx";
import { Scale, useScale } from "./scale.jsx";
import { Tokens } from "./tokens.jsx";
import { named, visible } from "./visible.js";

const LISTED = 10; // tokens that could be next
const ENDS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]; // of the scale, in nats: steps, so that it stays a while
const REPLACEMENTS = {
  zero: "A part that is off writes nothing into the residual stream.",
  mean: "A part that is off writes its mean over the text everywhere: what it always says stays.",
};
const percent = new Intl.NumberFormat("en", { style: "percent", maximumSignificantDigits: 3 }).format;

/** The names of all that can be switched off, in the model's order. */
function partsOf({ n_layer, n_head }) {
  const inLayer = [...Array(n_head).keys()].map((head) => `H${head}`).concat(" attention", " MLP");
  return [...Array(n_layer).keys()].flatMap((layer) => inLayer.map((part) => `L${layer}${part}`));
}

export function Ablate({ model, text }) {
  const [, redraw] = useReducer((n) => n + 1, 0);
  const put = (values) => (setAddress(values), redraw());
  const all = partsOf(model.minigpt2);
  const wanted = address().parts?.split(",") ?? [];
  const off = new Set(all.filter((part) => wanted.includes(part)));
  const replace = address().replace === "mean" ? "mean" : "zero";
  const choose = (parts) => put({ parts: parts.join(",") || null });
  const toggle = (part) => choose(all.filter((each) => off.has(each) !== (each === part)));
  const look = useInspect(model, text, { view: "ablate", parts: [...off], replace });
  const cells = all.map((name) => {
    const gone = off.has(name.replace(/H\d+$/, " attention")) || off.has(name);
    const tell = off.has(name) ? "off" : gone ? "off with the layer’s attention" : "on";
    const style = gone && { background: "none", borderColor: `var(--${off.has(name) ? "warn" : "line"})` };
    return { name, tell, off: off.has(name), text: off.has(name) ? "×" : "", style, toggle: () => toggle(name) };
  });
  const controls = all.length > 0 && <>
    <Parts label="Parts to switch off" cells={cells} />
    <div class="switches">
      <button disabled={off.size === 0} onClick={() => choose([])}>All on</button>
      <label>Replace by <select value={replace} onChange={(e) => put({ replace: e.target.value })}>
        {Object.keys(REPLACEMENTS).map((name) => <option key={name}>{name}</option>)}
      </select></label>
      <span>{REPLACEMENTS[replace]}{off.size === 0 && " Try L0 MLP first, then single heads."}</span>
    </div>
  </>;
  return (
    <>
      <Ablation {...{ look, controls }} />
      {look.data && <Attribute {...{ look, off, toggle, put }} />}
    </>
  );
}

function Ablation({ look, controls }) {
  const { tokens, losses, logprobs, kl, likeliest } = look.data ?? {};
  const [before, after] = [0, 1].map((row) => logprobs?.values.slice(row * logprobs.shape[1]) ?? []);
  const changes = Array.from(after, (value, i) => value - before[i]);
  const most = Math.max(0, ...changes.map(Math.abs));
  const end = ENDS.find((end) => end >= most) ?? ENDS.at(-1);
  const scale = useScale(-end, end, DIVERGING);
  const chance = (row, i) => percent(Math.exp(row[i - 1]));
  const change = (i) => i === 0 ? "nothing predicts it"
    : `${chance(before, i)} → ${chance(after, i)} likely, ${signed(changes[i - 1])} nats`;
  return (
    <Frame name="ablate" title="Ablate" {...{ look, controls }}
      question="What changes when parts of the model are switched off?"
      legend={<>
        <Scale scale={scale} label="Change of a token’s log-probability, in nats:" />
        <p>L1H0 is head 0 of layer 1; “attn” is all heads of a layer with their bias. The loss is the
          mean of −log p over the tokens; KL is of the prediction after a token, from what it was to
          what it is. Of the bars, the upper is before.</p>
      </>}>
      {look.data && <>
        <Loss losses={losses} />
        <div class="halves">
          <div>
            <h3>How much likelier each token became</h3>
            <Tokens tokens={tokens} label="Tokens, by how much likelier they became"
              colourOf={(i) => i > 0 && scale.style(changes[i - 1])}
              labelOf={(i) => `${change(i)}; KL of the prediction after it ${short(kl.values[i])} nats`} />
          </div>
          <Bars title="The next token, before and after" rows={paired(likeliest)} />
        </div>
      </>}
    </Frame>
  );
}

function Loss({ losses: [before, after] }) {
  if (before === null) return <p class="loss">A single token has no loss: nothing predicts it.</p>;
  return (
    <p class="loss">
      Loss <b class="before">{before.toFixed(3)}</b> → <b class="after">{after.toFixed(3)}</b> nats per
      token, {before === after ? "as it was" : <b class="change">{signed(after - before)}</b>}
    </p>
  );
}

function paired({ ids, texts, before, after }) {
  const most = (i) => Math.max(before[i], after[i]);
  const order = [...ids.keys()].sort((i, j) => most(j) - most(i)).slice(0, LISTED);
  const width = (value) => ({ width: `${(100 * value) / most(order[0])}%` });
  return order.map((i) => ({
    key: ids[i], name: visible(texts[i]), title: named(texts[i]),
    bar: <span><i class="bar before" style={width(before[i])} /><i class="bar" style={width(after[i])} /></span>,
    value: `${percent(before[i])} → ${percent(after[i])}`,
  }));
}
