// The logit lens: what the model would say after each layer, and the way of one token up to its end.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { indexOf, useAddressed } from "./addressed.js";
import { Choice } from "./choice.jsx";
import { SEQUENTIAL, short } from "./colours.js";
import { Frame } from "./frame.jsx";
import { MOVES } from "./heatmap.jsx";
import { useInspect } from "./inspect.js";
import { Path } from "./path.jsx";
import { Scale, useScale } from "./scale.jsx";
import { Shares } from "./shares.jsx";
import { named, visible } from "./visible.js";
import "./lens.css";

const COLOURS = { probability: "probability", kl: "KL to the end" };
const DISTANCE = ["--sheet", "--warn"];

/** The name of a row: what the model is stopped after. */
export const layerName = (row, rows) =>
  row === 0 ? "embedding" : row === rows - 1 ? `L${row - 1}, end` : `L${row - 1}`;

export function Lens({ model, text }) {
  const [at, put] = useAddressed();
  const lens = useInspect(model, text, { view: "lens" });
  const [, T] = lens.data?.kl.shape ?? [0, 1];
  const position = indexOf(at.position, T, T - 1);
  const token = at.token ?? indexOf(at.id, Infinity, null); // as it was typed, or the id of a cell
  const request = { view: "lens", position, token };
  const path = useInspect(model, text, lens.data && token !== null ? request : null);
  const byKl = at.colour === "kl";
  const furthest = useMemo(() => lens.data?.kl.values.reduce((a, b) => Math.max(a, b), 0) ?? 1, [lens.data]);
  const scales = [useScale(0, 1, SEQUENTIAL), useScale(0, furthest, DISTANCE)];
  const look = {
    ...lens, problem: lens.problem ?? (token !== null ? path.problem : null),
    again: () => (lens.again(), path.again()),
    data: lens.data && { ...lens.data, path: token !== null ? path.data?.path : undefined },
  };
  const close = () => put({ token: null, id: null });
  return (
    <Frame name="lens" title="Logit lens" look={look}
      question="What would the model say next if it stopped after each layer?"
      controls={lens.data && (
        <Choice label="Colour by" options={COLOURS} value={byKl ? "kl" : "probability"}
          choose={(colour) => put({ colour })} />
      )}
      legend={
        <>
          <Scale scale={scales[Number(byKl)]} label={byKl ? "KL to the end, nats" : "probability"} />
          <p>
            The tokens of the text are read below; each row up is one layer further, and the top row
            is the model’s own answer. A cell shows the likeliest next token there, underlined where
            it is the one the text goes on with. KL to the end is the Kullback–Leibler divergence
            of the cell’s distribution from the end’s. Click a cell for the rank path of its token.
          </p>
        </>
      }>
      {lens.data && (
        <Table data={lens.data} byKl={byKl} scale={scales[Number(byKl)]} position={position} close={close}
          pick={(position, id) => put({ position, id, token: null })}>
          <div class="asked">
            <Ask {...{ position, T }} ask={(position, token) => put({ position, token, id: null })} />
            {token !== null && path.data?.path && (
              <Path data={path.data} stale={path.waiting} vocabulary={model.minigpt2.vocab_size}
                position={JSON.parse(path.request).position} close={close} />
            )}
          </div>
        </Table>
      )}
    </Frame>
  );
}

function placeOf(event) {
  const cell = event?.target.closest("td");
  return cell ? [Number(cell.parentNode.dataset.row), cell.cellIndex - 1] : null;
}

/** Row by row from the end down to the embedding: one stop of the Tab key, arrow keys within. */
function Table({ data, byKl, scale, position, pick, close, children }) {
  const { ids, kl: { shape: [rows, T] }, texts, tokens } = data;
  const table = useRef();
  const [over, setOver] = useState(null); // by pointer; by key it is where the focus is
  const [focus, setFocus] = useState(null);
  const [told, stop] = [over ?? focus, focus].map((place) => {
    const [row, col] = place ?? [rows - 1, position];
    return [Math.min(row, rows - 1), Math.min(col, T - 1)];
  });
  const letters = useMemo(() => {
    const shown = tokens.texts.concat(Array.from({ length: rows * T }, (_, i) => texts[ids.values[5 * i]]));
    return Math.max(...shown.map((text) => visible(text).length));
  }, [data]);
  const press = (event) => {
    const [row, col] = placeOf(event) ?? [];
    const [down, right] = { ...MOVES, Home: [0, -T], End: [0, T] }[event.key] ?? [];
    if (row === undefined) return;
    if (down !== undefined) {
      const to = [Math.min(rows - 1, Math.max(0, row - down)), Math.min(T - 1, Math.max(0, col + right))];
      table.current.querySelector(`[data-row="${to[0]}"]`).cells[to[1] + 1].focus();
    } else if (event.key === "Enter" || event.key === " ") choose(event);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  };
  const choose = (event) => {
    const [row, col] = placeOf(event) ?? [];
    if (row !== undefined) pick(col, ids.values[at(data, row, col)]);
  };
  useEffect(() => {
    table.current.querySelector(".told").scrollIntoView({ block: "nearest", inline: "nearest" });
  }, []);
  return (
    <>
      <div class="scrolled">
        <table class="lens" ref={table} role="grid" aria-label="The likeliest next token by layer and position"
          style={{ "--letters": Math.min(10, Math.max(2, letters)) }} onKeyDown={press} onClick={choose}
          onPointerOver={(event) => setOver(placeOf(event))} onPointerLeave={() => setOver(null)}
          onFocusIn={(event) => setFocus(placeOf(event))}>
          <tbody>
            {Array.from({ length: rows }, (_, i) => rows - 1 - i).map((row) => (
              <Row key={row} {...{ data, row, byKl, scale }} told={told[0] === row ? told[1] : null}
                stop={stop[0] === row ? stop[1] : null} />
            ))}
          </tbody>
          <tfoot>
            <tr>
              <th scope="row">token read</th>
              {tokens.texts.map((text, i) => (
                <th key={i} scope="col" aria-label={`${i}: ${named(text)}`} title={named(text)}>
                  {visible(text)}<small>{i}</small>
                </th>
              ))}
            </tr>
          </tfoot>
        </table>
      </div>
      <div class="below">
        <Told data={data} row={told[0]} col={told[1]} />
        {children}
      </div>
    </>
  );
}

const at = ({ ids: { shape: [, T, most] } }, row, col) => (row * T + col) * most;

/** A row is drawn anew only when something in it changes: there may be thousands of cells. */
function Row({ data, row, byKl, scale, told, stop }) {
  return useMemo(() => {
    const { ids, probabilities, kl: { shape: [rows, T], values: kl }, texts, tokens } = data;
    return (
      <tr data-row={row}>
        <th scope="row">{layerName(row, rows)}</th>
        {Array.from({ length: T }, (_, col) => {
          const i = at(data, row, col);
          const [id, p, distance] = [ids.values[i], probabilities.values[i], kl[row * T + col]];
          return (
            <td key={col} role="gridcell" tabIndex={col === stop ? 0 : -1} style={scale.style(byKl ? distance : p)}
              class={`${col === told ? "told" : ""} ${id === tokens.ids[col + 1] ? "right" : ""}`}
              aria-label={`${layerName(row, rows)}, position ${col}: ${named(texts[id])}, `
                + `probability ${short(p)}, KL ${short(distance)}`}>
              {visible(texts[id])}
            </td>
          );
        })}
      </tr>
    );
  }, [data, row, byKl, scale, told, stop]);
}

/** What is known of one cell. */
function Told({ data, row, col }) {
  const { ids, probabilities, kl: { shape: [rows, T], values: kl }, texts, tokens } = data;
  const [i, most] = [at(data, row, col), ids.shape[2]];
  const items = Array.from({ length: most }, (_, k) => [named(texts[ids.values[i + k]]), probabilities.values[i + k]]);
  return (
    <section class="cell-told" aria-label="The cell">
      <h4>After {layerName(row, rows)}, at position {col}, having read {named(tokens.texts[col])}</h4>
      <p class="small">KL to the end <b>{short(kl[row * T + col])}</b> nats</p>
      <Shares label="The five likeliest next tokens" items={items} />
    </section>
  );
}

/** Ask for the path of any token, at any position. */
function Ask({ position, T, ask }) {
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    ask(indexOf(form.get("position"), T, position), form.get("token"));
  };
  return (
    <form class="row ask" onSubmit={submit}>
      <label>Rank path of the token <input name="token" required size={10} autocomplete="off" spellcheck={false} /></label>
      <label>at position <input name="position" type="number" min={0} max={T - 1} value={position} key={position} /></label>
      <button>Show</button>
    </form>
  );
}
