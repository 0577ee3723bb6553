// The logit lens: what the model would say after each layer, and the way of one token to the end.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { indexOf, useAddressed } from "./addressed.js";
import { Choice } from "./choice.jsx";
import { OTHER, SEQUENTIAL, short } from "./colours.js";
import { Frame } from "./frame.jsx";
import { moveFocus } from "./grid.js";
import { useInspect } from "./inspect.js";
import { Path } from "./path.jsx";
import { Scale, useScale } from "./scale.jsx";
import { Shares } from "./shares.jsx";
import { named, visible } from "./visible.js";
import "./lens.css";

const COLOURS = { probability: "probability", kl: "KL to the end" };
const LEGEND = `The tokens of the text are read below; each row up is one layer further, and the top
  row is the model’s own answer. A cell shows the likeliest next token there, underlined where the
  text goes on with it. KL to the end is the Kullback–Leibler divergence, in nats, of the cell’s
  distribution from the model’s answer. Click a cell for the rank path of its token.`;

/** The name of a row: what the model is stopped after. */
export const layerName = (row, rows) =>
  row === 0 ? "embedding" : `L${row - 1}${row === rows - 1 ? ", end" : ""}`;

export function Lens({ model, text }) {
  const [at, put] = useAddressed();
  const lens = useInspect(model, text, { view: "lens" });
  const [, T] = lens.data?.kl.shape ?? [0, 1];
  const position = indexOf(at.position, T, T - 1);
  const token = at.token ?? indexOf(at.id, Infinity, null); // a text that was typed, or a cell's id
  const open = lens.data && token !== null;
  const path = useInspect(model, text, open ? { view: "lens", position, token } : null);
  const furthest = useMemo(() => Math.max(0, ...(lens.data?.kl.values ?? [])), [lens.data]);
  const scales = [useScale(0, 1, SEQUENTIAL), useScale(0, furthest, OTHER)];
  const colour = at.colour in COLOURS ? at.colour : "probability";
  const scale = scales[Number(colour === "kl")];
  const look = {
    ...lens, data: lens.data && { ...lens.data, path: open && path.data?.path },
    problem: lens.problem ?? (open ? path.problem : null), again: () => (lens.again(), path.again()),
  };
  const close = () => put({ token: null, id: null });
  return (
    <Frame name="lens" title="Logit lens" look={look}
      question="What would the model say next if it stopped after each layer?"
      controls={lens.data && (
        <Choice label="Colour by" options={COLOURS} value={colour} choose={(colour) => put({ colour })} />
      )}
      legend={[<Scale scale={scale} label={COLOURS[colour]} />, <p>{LEGEND}</p>]}>
      <Table data={lens.data} {...{ colour, scale, position, close }}
        pick={(position, id) => put({ position, id, token: null })}>
        <div class="asked">
          <Ask {...{ position, T }} ask={(position, token) => put({ position, token, id: null })} />
          {open && path.data && (
            <Path {...path.data} {...JSON.parse(path.request)} stale={path.waiting} close={close}
              vocabulary={model.minigpt2.vocab_size} />
          )}
        </div>
      </Table>
    </Frame>
  );
}

/** All that is known of a cell: `likeliest` are [name, probability], of the token `id` first. */
function cellAt({ ids, probabilities, kl, texts, tokens }, row, col) {
  const [rows, T, most] = ids.shape;
  const from = (row * T + col) * most;
  const found = ids.values.subarray(from, from + most);
  const likeliest = Array.from(found, (id, k) => [named(texts[id]), probabilities.values[from + k]]);
  const [id, told] = [found[0], `${layerName(row, rows)}, position ${col}`];
  const right = id === tokens.ids[col + 1];
  return { id, text: texts[id], kl: kl.values[row * T + col], likeliest, told, right };
}

/** Row by row from the end down to the embedding: one stop of the Tab key, arrow keys within. */
function Table({ data, colour, scale, position, pick, close, children }) {
  const [rows, T] = data.kl.shape;
  const table = useRef();
  const [over, setOver] = useState(null); // by pointer
  const [focus, setFocus] = useState(null); // by key
  const [stop, told] = [focus, over ?? focus].map((place) => {
    const [row, col] = place ?? [rows - 1, position];
    return [Math.min(row, rows - 1), Math.min(col, T - 1)]; // the text may be another by now
  });
  useEffect(() => {
    table.current.querySelector(".told").scrollIntoView({ block: "nearest", inline: "nearest" });
  }, []);
  const placeOf = (event) => {
    const cell = event.target.closest("td");
    return cell && [rows - 1 - cell.parentNode.rowIndex, cell.cellIndex - 1];
  };
  const choose = (event) => {
    const [row, col] = placeOf(event) ?? [];
    if (row !== undefined) pick(col, cellAt(data, row, col).id);
  };
  const press = (event) => {
    if (event.key === "Enter") choose(event);
    else if (event.key === "Escape") close();
    else moveFocus(event);
  };
  const { told: place, kl, likeliest } = cellAt(data, ...told);
  return (
    <>
      <div class="scrolled">
        <table class="lens" ref={table} role="grid" aria-label="Likeliest next tokens"
          onKeyDown={press} onClick={choose} onFocusIn={(event) => setFocus(placeOf(event))}
          onPointerOver={(event) => setOver(placeOf(event))} onPointerLeave={() => setOver(null)}>
          <tbody>
            {Array.from({ length: rows }, (_, i) => rows - 1 - i).map((row) => (
              <Row key={row} {...{ data, row, colour, scale }} told={told[0] === row ? told[1] : null}
                stop={stop[0] === row ? stop[1] : null} />
            ))}
          </tbody>
          <tfoot>
            <tr>
              <th scope="row">token read</th>
              {data.tokens.texts.map((text, i) => (
                <th key={i} scope="col" aria-label={`${i}: ${named(text)}`}>{visible(text)}<small>{i}</small></th>
              ))}
            </tr>
          </tfoot>
        </table>
      </div>
      <div class="beside">
        <section class="cell-told" aria-label="The cell">
          <h4>{place}, after {named(data.tokens.texts[told[1]])}</h4>
          <p class="small">KL to the end <b>{short(kl)}</b> nats; the likeliest next tokens:</p>
          <Shares label="The likeliest next tokens" items={likeliest} />
        </section>
        {children}
      </div>
    </>
  );
}

/** Drawn anew only when something in it changes: there may be thousands of cells. */
function Row({ data, row, colour, scale, told, stop }) {
  return useMemo(() => {
    const [rows, T] = data.kl.shape;
    const cells = Array.from({ length: T }, (_, col) => {
      const { kl, text, likeliest: [[name, p]], told: place, right } = cellAt(data, row, col);
      return (
        <td key={col} role="gridcell" tabIndex={col === stop ? 0 : -1}
          class={`${col === told ? "told" : ""} ${right ? "right" : ""}`}
          style={scale.style(colour === "kl" ? kl : p)}
          aria-label={`${place}: ${name}, probability ${short(p)}, KL to the end ${short(kl)}`}>
          {visible(text)}
        </td>
      );
    });
    return <tr><th scope="row">{layerName(row, rows)}</th>{cells}</tr>;
  }, [data, row, scale, told, stop]);
}

/** Ask for the path of any token, at any position. */
function Ask({ position, T, ask }) {
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    ask(Number(form.get("position")), form.get("token"));
  };
  return (
    <form class="row ask" onSubmit={submit}>
      <label>Rank path of the token <input name="token" required size={10} autocomplete="off" /></label>
      <label>
        at position <input key={position} name="position" type="number" min={0} max={T - 1}
          required defaultValue={position} />
      </label>
      <button>Show</button>
    </form>
  );
}
