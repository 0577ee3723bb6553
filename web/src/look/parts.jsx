// The parts of a model, laid out as it is: a row a layer, and one for each part that is in none.
// Each is a button that switches it off or on; one stop of the Tab key, arrow keys within.
import { useRef, useState } from "preact/hooks";
import { MOVES } from "./heatmap.jsx";
import "./parts.css";

const ROOMY = 8; // columns that leave room for a number in each cell
const within = (i, list) => Math.min(list.length - 1, Math.max(0, i));

/**
 * `cells` are {name, tell, text, style, off, toggle}, in the model's order, as many in each layer. A
 * cell without `toggle` can only be read.
 */
export function Parts({ label, cells }) {
  const grid = useRef();
  const [stop, setStop] = useState("0 0"); // where the Tab key comes in
  const [over, setOver] = useState(null);
  const rows = Object.entries(Object.groupBy(cells, ({ name }) => /^L\d+/.exec(name)?.[0] ?? name));
  const cellAt = (at) => at && rows[at.split(" ")[0]]?.[1][at.split(" ")[1]];
  const [, layer] = rows.find(([, row]) => row.length > 1);
  const columns = layer.map(({ name }) => name.replace(/^L0 ?/, "").replace("attention", "attn"));
  const tight = columns.length > ROOMY;
  const look = (event) => setOver(event.target.closest("[data-at]")?.dataset.at ?? null);
  const move = (event) => {
    if (!(event.key in MOVES)) return;
    const [row, col] = stop.split(" ").map((n, i) => Number(n) + MOVES[event.key][i]);
    const to = within(row, rows);
    grid.current.querySelector(`[data-at="${to} ${within(col, rows[to][1])}"]`).focus();
    event.preventDefault();
  };
  const button = ({ name, tell, text, style, off, toggle }, at) => (
    <button key={name} class="part" data-at={at} style={style ?? {}} onClick={toggle}
      tabIndex={at === (cellAt(stop) ? stop : "0 0") ? 0 : -1} onFocus={() => setStop(at)}
      aria-label={`${name}, ${tell}`} aria-pressed={toggle ? Boolean(off) : null}
      aria-disabled={toggle ? null : "true"}>{tight && text.length > 1 ? "" : text}</button>
  );
  return (
    <div>
      <div class={tight ? "layers tight" : "layers"} ref={grid} role="toolbar" aria-label={label}
        style={{ "--columns": columns.length }} onKeyDown={move} onFocusIn={look} onPointerOver={look}
        onFocusOut={() => setOver(null)} onPointerLeave={() => setOver(null)}>
        <span class="side" />{columns.map((name) => <span key={name}>{name}</span>)}
        {rows.map(([title, row], r) => [
          <span key={title} class="side">{title}</span>,
          row.map((cell, c) => button(cell, `${r} ${c}`)),
        ])}
      </div>
      <p class="tell" aria-hidden="true">{cellAt(over) && `${cellAt(over).name}: ${cellAt(over).tell}`}</p>
    </div>
  );
}

/** Bars with a name before and a number behind; `rows` are {key, name, title, bar, value}. */
export const Bars = ({ title, rows }) => (
  <div>
    <h3>{title}</h3>
    <ul class="amounts">
      {rows.map(({ key, name, title, bar, value }) => (
        <li key={key}><span class="what" title={title}>{name}</span>{bar}<span>{value}</span></li>
      ))}
    </ul>
  </div>
);
