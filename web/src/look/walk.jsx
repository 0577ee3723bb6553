// One token's way through one block and one of its heads, with every vector that the model has there.
import { useEffect, useMemo, useState } from "preact/hooks";
import { indexOf, useAddressed } from "../address.js";
import { filled } from "../filled.js";
import { DIVERGING, short } from "./colours.js";
import { Frame } from "./frame.jsx";
import { Heatmap } from "./heatmap.jsx";
import { useInspect } from "./inspect.js";
import { Scale, Shares, useScale } from "./scale.jsx";
import { groups, stages } from "./stages.json";
import { Tokens } from "./tokens.jsx";
import { named } from "./visible.js";
import "./walk.css";

const WITHIN = 0.99; // of a group's numbers within its scale: a few are often far larger
const MOST = 8; // tokens with a share of their own
const [LONGEST, SHORTEST] = [256, 64]; // cells in a row of a strip that is folded

export function Walk({ model: { id, minigpt2: { n_layer, n_head } }, text }) {
  const [at, put] = useAddressed();
  const position = indexOf(at.position, Infinity, null);
  const chosen = { layer: indexOf(at.layer, n_layer), head: indexOf(at.head, n_head), position };
  const look = useInspect({ id }, text, { view: "walk", ...chosen });
  const lost = look.problem?.status === 400 && position !== null; // the text may be shorter now
  useEffect(() => void (lost && put({ position: null })), [lost]);
  const controls = [["Layer", "layer", n_layer], ["Head", "head", n_head]].map(([label, name, count]) => (
    <label key={name}>
      {label} <select value={chosen[name]} onChange={({ target }) => put({ [name]: Number(target.value) })}>
        {[...Array(count).keys()].map((i) => <option key={i}>{i}</option>)}
      </select>
    </label>
  ));
  return (
    <Frame name="walk" look={look} controls={n_layer > 0 && controls}
      scales={<Scale scale={useScale(-1, 1, DIVERGING)} label="One cell:" tell={(end) => (end < 0 ? "−r" : "r")} />}
      below={look.data && <Stages {...look.data} {...JSON.parse(look.request)} layers={n_layer} />}>
      {look.data && <Tokens tokens={look.data.tokens} current={look.data.vectors.pattern.values.length - 1}
        label="Tokens: choose the one to walk with" onPick={(position) => put({ position })} />}
    </Frame>
  );
}

/** `layer` and `head` are those that the vectors are of. */
function Stages({ vectors, tokens, next, layer, head, layers }) {
  const [marked, mark] = useState(null);
  const drawn = useMemo(() => drawnOf(vectors), [vectors]);
  const { pattern, scores, post, q } = vectors;
  const facts = {
    layer, head, following: layer + 1, top: layers - 1, size: q.values.length,
    position: pattern.values.length - 1, neurons: post.values.length,
    active: post.values.filter((value) => value > 0).length,
  };
  const nameAt = (j) => `${named(tokens.texts[j])} at ${j}`;
  const shares = {
    looked: largest(pattern.values, (j) => `${nameAt(j)}, score ${short(scores.values[j])}`),
    next: largest(next.probabilities, (i) => named(next.texts[i])),
  };
  return (
    <ol class="walk">
      {stages.map(({ first, last, ...usual }, n) => {
        const stage = { ...usual, ...(layer === 0 && first), ...(layer === layers - 1 && last) };
        return (
          <li key={n} class={`stage ${stage.kind}`}>
            <div>
              <h3>{filled(stage.name, facts)}</h3>
              <p class="formula">
                {filled(stage.formula, facts).split("~").map((part, i) => (i % 2 ? <sub>{part}</sub> : part))}
              </p>
              <p>{filled(stage.says, facts)}</p>
            </div>
            <div class="strips">
              {stage.strips.map((name) => (
                <Strip key={name} {...{ name, marked, mark }} {...drawn[name]} texts={tokens.texts} />
              ))}
              {stage.shares && <Shares label={stage.name} items={shares[stage.shares]} />}
            </div>
          </li>
        );
      })}
    </ol>
  );
}

/** {name: {shape, values, unit, r}} of the vectors: a group has one scale, from -r to r. */
function drawnOf(vectors) {
  const ofGroup = ({ unit, names }) => {
    const sizes = Float32Array.from(names.flatMap((name) => [...vectors[name].values]), Math.abs).sort();
    const r = sizes[Math.ceil(WITHIN * (sizes.length - 1))] || 1;
    return names.map((name) => [name, { ...vectors[name], unit, r }]);
  };
  return Object.fromEntries(groups.flatMap(ofGroup));
}

/** The largest shares as [name, share], and what is left for the others. */
function largest(shares, nameOf) {
  const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]);
  const others = order.splice(MOST);
  const listed = order.map((i) => [nameOf(i), shares[i]]);
  const rest = others.reduce((sum, i) => sum + shares[i], 0);
  return others.length > 0 ? [...listed, [`the other ${others.length}`, rest]] : listed;
}

/** In how many rows a vector is drawn: one if it is short, else as few as it fills exactly. */
const rowsOf = (size) => [...Array(Math.floor(size / SHORTEST) + 1).keys()]
  .find((rows) => size % rows === 0 && size / rows <= LONGEST) ?? 1;

/** A vector as a strip of coloured cells, folded where it is long; or a matrix, a token each row. */
function Strip({ name, shape, values, unit, r, marked, mark, texts }) {
  const scale = useScale(-r, r, DIVERGING);
  const matrix = shape.length > 1;
  const rows = matrix ? shape[0] : rowsOf(shape[0]);
  const cols = values.length / rows;
  const point = (place) => place && mark({ unit, i: place[0] * cols + place[1] });
  const current = marked?.unit === unit ? [Math.floor(marked.i / cols), marked.i % cols] : null;
  const linked = matrix ? {} : { current, onHover: point, onPick: point };
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const told = matrix ? shape.join(" × ") : `norm ${short(Math.hypot(...values))}, mean ${short(mean)}`;
  return (
    <div class="strip">
      <p class="small"><code>{name}</code>: <span class="stats">{told}</span>, r = {short(r)}</p>
      <Heatmap {...{ values, rows, cols, scale, ...linked }} height={Math.min(120, Math.max(18, 6 * rows))}
        label={`${name}: ${shape.join(" by ")} numbers`}
        rowLabel={(row) => (matrix ? `${row} ${named(texts[row])}` : name)}
        colLabel={(col, row) => `${unit} ${matrix ? col : row * cols + col}`} />
    </div>
  );
}
