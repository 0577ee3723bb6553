// One token's way through one block and one of its heads, with every vector that the model has there.
import { useEffect, useMemo, useState } from "preact/hooks";
import { address, setAddress } from "../address.js";
import { DIVERGING, short } from "./colours.js";
import { Frame } from "./frame.jsx";
import { useInspect } from "./inspect.js";
import { Scale, useScale } from "./scale.jsx";
import { piecesOf, stagesOf } from "./stages.js";
import { Strip } from "./strip.jsx";
import { Tokens } from "./tokens.jsx";
import { named, visible } from "./visible.js";
import "./walk.css";

// Vectors that are compared have one scale, and cells of one kind are pointed at together.
const GROUPS = [
  ["component", "embed pos_embed"], ["component", "resid_pre resid_mid resid_post"],
  ["component", "result attn_out mlp_out"], ["component", "ln1 ln2"],
  ["head component", "q k keys v values z"], ["neuron", "pre post"],
  ["position", "scores"], ["position", "pattern"],
].map(([unit, names]) => ({ unit, names: names.split(" ") }));
const WITHIN = 0.99; // of a group's numbers within its scale: a few are often far larger
const MOST = 8; // tokens with a bar of their own

function limitOf(names, vectors) {
  const sizes = Float32Array.from(names.flatMap((name) => [...vectors[name].values]), Math.abs).sort();
  return sizes[Math.ceil(WITHIN * (sizes.length - 1))] || 1;
}

const clamped = (value, count) => Math.max(0, Math.min(Math.trunc(value) || 0, count - 1));

export function Walk({ model, text }) {
  const counts = { layer: model.minigpt2.n_layer, head: model.minigpt2.n_head };
  const [place, setPlace] = useState(address);
  const put = (values) => (setPlace({ ...place, ...values }), setAddress(values));
  const [layer, head] = ["layer", "head"].map((name) => clamped(place[name], counts[name]));
  const position = place.position == null ? {} : { position: clamped(place.position, Infinity) };
  const look = useInspect(model, text, { view: "walk", layer, head, ...position });
  const lost = look.problem?.status === 400 && place.position != null; // the text may be shorter now
  useEffect(() => void (lost && put({ position: null })), [lost]);
  const vectors = look.data?.vectors;
  const groups = useMemo(
    () => vectors && GROUPS.map((group) => ({ ...group, limit: limitOf(group.names, vectors) })), [vectors],
  );
  const controls = [["Layer", "layer", layer], ["Head", "head", head]].map(([label, name, value]) => (
    <label key={name} class="which">
      {label}
      <select value={value} onChange={(event) => put({ [name]: Number(event.target.value) })}>
        {Array.from({ length: counts[name] }, (_, i) => <option key={i} value={i}>{i}</option>)}
      </select>
    </label>
  ));
  const asked = look.request && JSON.parse(look.request); // older than what is chosen, for a moment
  return (
    <Frame name="walk" title="Walk" look={look} controls={counts.layer > 0 && controls}
      legend={<Legend groups={groups ?? []} />} question="What happens to one token on its way through one block?">
      {vectors && (
        <>
          <Tokens tokens={look.data.tokens} current={vectors.pattern.values.length - 1}
            label="Tokens: choose the one to walk with" onPick={(position) => put({ position })} />
          <Stages {...look.data} {...asked} {...{ groups, put }} layers={counts.layer} />
        </>
      )}
    </Frame>
  );
}

const Legend = ({ groups }) => (
  <>
    <Scale scale={useScale(-1, 1, DIVERGING)} tell={(end) => (end < 0 ? "−r" : "r")} label="One cell, one number:" />
    <p>
      Strips named together have one r; 1 % of their numbers may lie beyond it.{" "}
      {groups.map(({ names, limit }) => [<code>{names.join(", ")}</code>, `: r = ${short(limit)}. `])}
      Point at a cell to read it in all strips of its kind; click to keep it marked.
    </p>
  </>
);

function Stages({ vectors, tokens, next, layer, head, layers, groups, put }) {
  const [over, mark] = useState(null);
  const [pinned, pin] = useState(null);
  const { pattern, scores, post, q } = vectors;
  const [position, neurons] = [pattern.values.length - 1, post.values.length];
  const scoreOf = (j) => `position ${j}, score ${short(scores.values[j])}`;
  const onward = <button onClick={() => put({ layer: layer + 1 })}>Walk on through block {layer + 1}</button>;
  const drawn = {
    active: () => `${post.values.filter((x) => x > 0).length} of ${neurons} neurons are active (above 0).`,
    looked: () => <Bars shares={pattern.values} texts={tokens.texts} note={scoreOf} />,
    next: () => [<Bars shares={next.probabilities} texts={next.texts} />, layer < layers - 1 && onward],
  };
  const strip = (name) => {
    const { unit, limit } = groups.find(({ names }) => names.includes(name));
    const matrix = vectors[name].shape.length > 1;
    const cell = (i) => (i === null || matrix ? null : { unit, i });
    const at = !matrix && [over, pinned].find((one) => one?.unit === unit);
    return (
      <Strip key={name} array={vectors[name]} {...{ name, unit, limit }} marked={at ? at.i : null}
        mark={(i) => mark(cell(i))} pin={(i) => pin(pinned?.unit === unit && pinned.i === i ? null : cell(i))}
        rowName={matrix ? (j) => `${j} ${named(tokens.texts[j])}` : null} />
    );
  };
  const stages = stagesOf({ layer, head, layers, position, size: q.values.length, neurons });
  return (
    <ol class="walk">
      {stages.map(([kind, name, formula, shown, says], n) => (
        <li key={n} class={`stage ${kind}`}>
          <div>
            <h3>{name}</h3>
            <p class="formula">{piecesOf(formula).map(([Place, piece], i) => <Place key={i}>{piece}</Place>)}</p>
            <p>{says}</p>
          </div>
          <div class="strips small">{shown.split(" ").map((one) => drawn[one]?.() ?? strip(one))}</div>
        </li>
      ))}
    </ol>
  );
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** The largest shares with their tokens, and what is left for the others. */
function Bars({ shares, texts, note }) {
  const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]);
  const rest = order.slice(MOST).reduce((sum, i) => sum + shares[i], 0);
  return (
    <ul class="most">
      {order.slice(0, MOST).map((i) => (
        <li key={i}>
          <span class="token" title={named(texts[i])}>{visible(texts[i])}</span>
          <i style={{ "--share": shares[i] / shares[order[0]] }} />
          <b>{percent(shares[i])}</b>
          {note && <span>{note(i)}</span>}
        </li>
      ))}
      {order.length > MOST && <li>The other {order.length - MOST} tokens together: {percent(rest)}</li>}
    </ul>
  );
}
