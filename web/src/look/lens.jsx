// The logit lens: what the model would say after each layer, and the way of one token to the end.
import { useMemo, useState } from "preact/hooks";
import { indexOf, useAddressed } from "../address.js";
import { OTHER, SEQUENTIAL, short } from "./colours.js";
import { Choice, Frame } from "./frame.jsx";
import { joined, useInspect } from "./inspect.js";
import { Labelled } from "./heatmap.jsx";
import { Scale, Shares, useScale } from "./scale.jsx";
import { named, visible } from "./visible.js";

const COLOURS = { probability: "probability", kl: "KL to the end" };

const layerName = (row) => (row === 0 ? "embedding" : `L${row - 1}`); // after which a row is read

export function Lens({ model, text }) {
  const [at, put] = useAddressed();
  const lens = useInspect(model, text, { view: "lens" });
  const [, T] = lens.data?.kl.shape ?? [0, 1];
  const position = indexOf(at.position, T, T - 1);
  const token = at.token ?? indexOf(at.id, Infinity, null); // a text that was typed, or a cell's id
  const open = lens.data && token !== null;
  const path = useInspect(model, text, open ? { view: "lens", position, token } : null);
  const furthest = useMemo(() => Math.max(0, ...(lens.data?.kl.values ?? [])), [lens.data]);
  const scales = { probability: useScale(0, 1, SEQUENTIAL), kl: useScale(0, furthest, OTHER) };
  const colour = at.colour in COLOURS ? at.colour : "probability";
  const ask = (event) => {
    event.preventDefault();
    put({ position, token: event.target.elements.token.value, id: null });
  };
  return (
    <Frame name="lens" look={joined(lens, path, { path: path.data?.path })}
      controls={<Choice label="Colour by" options={COLOURS} value={colour} choose={(colour) => put({ colour })} />}
      scales={<Scale scale={scales[colour]} label={COLOURS[colour]} />}>
      <Cells data={lens.data} {...{ colour, position }} scale={scales[colour]}
        pick={(position, id) => put({ position, id, token: null })}>
        <div class="told">
          <form class="row" onSubmit={ask}>
            <label>Rank path at {position} of the token <input name="token" required size={10} /></label>
            <button>Show</button>
          </form>
          {path.data && <Path {...path} vocabulary={model.minigpt2.vocab_size} />}
        </div>
      </Cells>
    </Frame>
  );
}

/** A row for each layer, a column for each token; one cell, the last that was looked at, is told. */
function Cells({ data, colour, scale, position, pick, children }) {
  const { ids, probabilities, kl, texts, tokens } = data;
  const [rows, T, most] = ids.shape;
  const [place, setPlace] = useState([rows - 1, position]);
  const [row, col] = [Math.min(place[0], rows - 1), Math.min(place[1], T - 1)]; // of another text by now
  const likely = useMemo(() => probabilities.values.filter((_, i) => i % most === 0), [data]);
  const values = colour === "kl" ? kl.values : likely;
  const words = useMemo(() => Array.from(values, (value, i) => {
    const id = ids.values[i * most];
    const goesOn = id === tokens.ids[(i % T) + 1];
    return <span key={i} class={goesOn ? "right" : ""} style={scale.style(value)}>{visible(texts[id])}</span>;
  }), [values, scale]);
  const cellAt = (row, col) => Array.from({ length: most }, (_, k) => (row * T + col) * most + k);
  const likeliest = (row, col) => ids.values[cellAt(row, col)[0]];
  return (
    <>
      <Labelled label="Likeliest next tokens" {...{ values, rows, scale }} cols={T} height={28 * rows}
        cell={64} least={64} current={[row, col]} onHover={(place) => place && setPlace(place)}
        onPick={([row, col]) => pick(col, likeliest(row, col))}
        left={Array.from({ length: rows }, (_, i) => layerName(i))} above={tokens.texts.map(visible)}
        rowLabel={layerName} between=" after "
        colLabel={(col, row) => `${named(tokens.texts[col])} at ${col}, ${named(texts[likeliest(row, col)])}`}
        tell={(value) => `${COLOURS[colour]} ${short(value)}`}>
        <div class="words" aria-hidden="true" style={{ "--cols": T }}>{words}</div>
      </Labelled>
      <div class="beside">
        <section class="told cell" aria-label="The cell">
          <p>KL to the end <b>{short(kl.values[row * T + col])}</b> nats; the likeliest next tokens:</p>
          <Shares label="The likeliest next tokens"
            items={cellAt(row, col).map((i) => [named(texts[ids.values[i]]), probabilities.values[i]])} />
        </section>
        {children}
      </div>
    </>
  );
}

/** The way of one token through the layers: its rank and its probability after each of them. */
function Path({ data: { path: { token, ranks, probabilities }, tokens }, request, vocabulary }) {
  const { position } = JSON.parse(request);
  const items = Array.from(ranks.values, (rank, row) => {
    const nearness = 1 - Math.log(rank) / Math.log(vocabulary); // 1 for the first, 0 for the last
    return [layerName(row), nearness, `${rank.toLocaleString("en")}, ${short(probabilities.values[row])}`];
  });
  return (
    <section class="path" aria-labelledby="path">
      <h3 id="path">{named(token.text)} after {named(tokens.texts[position])} at {position}</h3>
      <p class="small">Its rank, with a bar on a log scale, and its probability after each layer.</p>
      <Shares label="Rank path" items={items} />
    </section>
  );
}
