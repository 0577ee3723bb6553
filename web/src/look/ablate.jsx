// What parts of the model are for: what each said for one token and against another, and what
// becomes of the text without some of them.
import { useState } from "preact/hooks";
import { indexOf, useAddressed } from "../address.js";
import { DIVERGING, short, signed } from "./colours.js";
import { Choice, Frame } from "./frame.jsx";
import { moveFocus } from "./grid.js";
import { joined, useInspect } from "./inspect.js";
import { Scale, Shares, useScale } from "./scale.jsx";
import { Tokens } from "./tokens.jsx";
import { named, typed, visible } from "./visible.js";

const LARGEST = 10; // parts that are listed
const REPLACEMENTS = { zero: "zero", mean: "its mean over the text" };
const percent = new Intl.NumberFormat("en", { style: "percent", maximumSignificantDigits: 3 }).format;

/** The names of all that can be switched off, in the model's order. */
function partsOf({ n_layer, n_head }) {
  const inLayer = [...Array(n_head).keys()].map((head) => `H${head}`).concat(" MLP");
  return [...Array(n_layer).keys()].flatMap((layer) => inLayer.map((part) => `L${layer}${part}`));
}

/** A scale of changes, in both directions as far as the furthest of them. */
function useChanges(values, least) {
  const end = Math.max(least, ...values.map(Math.abs));
  return useScale(-end, end, DIVERGING);
}

export function Ablate({ model, text }) {
  const [at, put] = useAddressed();
  const all = partsOf(model.minigpt2);
  const parts = all.filter((part) => at.parts?.split(",").includes(part));
  const choose = (chosen) => put({ parts: chosen.join(",") || null });
  const replace = at.replace === "mean" ? "mean" : "zero";
  const ablated = useInspect(model, text, { view: "ablate", parts, replace });
  const { model: id, prompt } = JSON.parse(ablated.request ?? "{}"); // compared once it is read
  const T = ablated.data?.tokens.ids.length ?? 0;
  const position = indexOf(at.position, T, T - 1);
  const request = { view: "contributions", position, a: typed(at.a), b: typed(at.b) };
  const compared = useInspect({ id }, prompt, ablated.data && request);
  const logprobs = ablated.data?.logprobs.values ?? new Float32Array();
  const [before, after] = [logprobs.slice(0, T - 1), logprobs.slice(T - 1)];
  const changes = Array.from(after, (value, i) => value - before[i]);
  const said = compared.data?.parts.map(({ value }) => value) ?? [];
  const scales = [useChanges(said, 0.01), useChanges(changes, 1)];
  const both = joined(ablated, compared, { contributions: compared.data });
  const look = { ...both, data: compared.data && both.data };
  const tell = (i) => i < 0 ? "nothing predicts it"
    : `${[before, after].map((row) => percent(Math.exp(row[i]))).join(" → ")}, ${signed(changes[i])} nats`;
  const controls = all.length > 0 && [
    ["a", "b"].map((name) => ( // believed when it is left: half of a token is another, or none
      <label key={name}>
        Token {name.toUpperCase()} <input class="number" defaultValue={visible(at[name] ?? "")}
          spellcheck={false} autocomplete="off" placeholder={visible(compared.data?.[name].text ?? "")}
          onChange={({ target }) => put({ [name]: target.value || null })} />
      </label>
    )),
    <Choice label="What is off becomes" options={REPLACEMENTS} value={replace}
      choose={(replace) => put({ replace })} />,
    <button disabled={parts.length === 0} onClick={() => choose([])}>All on</button>,
  ];
  return (
    <Frame name="ablate" {...{ look, controls }}
      scales={[
        <Scale scale={scales[0]} label="Contribution in logits, for B or for A:" tell={signed} />,
        <Scale scale={scales[1]} label="Change of a token’s log-probability in nats:" tell={signed} />,
      ]}>
      {look.data && <>
        <Decision {...compared.data} {...{ all, choose }} off={parts} scale={scales[0]} />
        <Loss losses={ablated.data.losses} changed={parts.length > 0} />
        <div class="halves">
          <div>
            <h4>How much likelier each token became; pick one to compare after</h4>
            <Tokens tokens={ablated.data.tokens} current={position}
              onPick={(position) => put({ position })}
              colourOf={(i) => i > 0 && scales[1].style(changes[i - 1])}
              labelOf={(i) => `${tell(i - 1)}; after it KL ${short(ablated.data.kl.values[i])} nats`} />
          </div>
          <Next {...ablated.data.likeliest} />
        </div>
      </>}
    </Frame>
  );
}

/** What each part said for A and against B; a click switches it off. */
function Decision({ a, b, parts, total, difference, all, off, choose, scale }) {
  const within = (name) => all.filter((part) => part === name || layerOf(part) === name);
  const isOff = (name) => (within(name).length ? within(name).every((part) => off.includes(part)) : null);
  const toggle = (name) =>
    choose(all.filter((part) => (within(name).includes(part) ? !isOff(name) : off.includes(part))));
  const [nameA, nameB] = [named(a.text), named(b.text)];
  const largest = parts.toSorted((p, q) => Math.abs(q.value) - Math.abs(p.value)).slice(0, LARGEST);
  const items = largest.map(({ name, value }) => {
    const colour = scale.style(value < 0 ? scale.from : scale.to).background;
    return [name, Math.abs(value) / scale.to, signed(value), { "--bar": colour }];
  });
  return (
    <div class="halves">
      <div>
        <h4>What each part said for {nameA} and against {nameB}</h4>
        <Parts {...{ parts, scale, isOff, toggle }} />
        <p class="sum">
          The parts sum to <b class="total">{signed(total)}</b>; the logits of {nameA} and {nameB} differ
          by <b class="difference">{signed(difference)}</b>. Click a part to switch it off or on.
        </p>
      </div>
      <div><h4>The largest contributions</h4><Shares items={items} /></div>
    </div>
  );
}

const Loss = ({ losses: [before, after], changed }) => before !== null && (
  <p class="loss">Loss <b class="before">{before.toFixed(3)}</b>
    {changed && <> → <b class="after">{after.toFixed(3)}</b></>} nats per token
    {changed ? <>, <b class="change">{signed(after - before)}</b></> : ", with all parts on"}</p>
);

function Next({ texts, before, after }) {
  const items = texts.map((text, i) => {
    const told = `${percent(before[i])} → ${percent(after[i])}`;
    return [named(text), after[i], told, { "--was": before[i], paddingBottom: "7px" }];
  });
  return <div><h4>The next token after the text, before (grey) and after</h4><Shares items={items} /></div>;
}

/** The layer that a part is in, or undefined. */
const layerOf = (name) => /^L\d+/.exec(name)?.[0];

/**
 * The parts of a model, laid out as it is: a row a layer, and one for each part that is in none. Each
 * is a button that switches it off or on; one stop of the Tab key, arrow keys within.
 * `parts` are {name, value} in the model's order; isOff(name) is null for what stays on.
 */
function Parts({ parts, scale, isOff, toggle }) {
  const [at, setAt] = useState(null); // where the Tab key comes in
  const rows = Object.entries(Object.groupBy(parts, ({ name }) => layerOf(name) ?? name));
  const [layer, row] = rows.find(([title]) => layerOf(title));
  const columns = row.map(({ name }) => name.slice(layer.length));
  const stop = parts.some(({ name }) => name === at) ? at : parts[0].name;
  return (
    <div class="scrolled">
      <table class="parts" role="grid" aria-label="Parts" onKeyDown={moveFocus}
        onFocusIn={({ target }) => setAt(target.value)}
        onClick={({ target: { value } }) => value && toggle(value)}>
        <tr><td />{columns.map((name) => <th scope="col">{name}</th>)}</tr>
        {rows.map(([title, row]) => (
          <tr>
            <th scope="row">
              {layerOf(title)
                ? <button value={title} tabIndex={-1} aria-pressed={isOff(title)}>{title}</button> : title}
            </th>
            {row.map(({ name, value }) => (
              <td colSpan={layerOf(name) ? 1 : columns.length}><button value={name} style={scale.style(value)} aria-pressed={isOff(name)}
                tabIndex={name === stop ? 0 : -1} aria-label={`${name} ${signed(value)}`}>
                {signed(value, 2)}
              </button></td>))}
          </tr>
        ))}
      </table>
    </div>
  );
}
