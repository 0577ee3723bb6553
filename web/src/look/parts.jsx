// The parts of a model, laid out as it is: a row a layer, and one for each part that is in none.
// Each is a button that switches it off or on; one stop of the Tab key, arrow keys within.
import { useState } from "preact/hooks";
import { signed } from "./colours.js";
import { moveFocus } from "./grid.js";
import "./parts.css";

/** The layer that a part is in, or undefined. */
export const layerOf = (name) => /^L\d+/.exec(name)?.[0];

/** `parts` are {name, value} in the model's order; isOff(name) is null for what stays on. */
export function Parts({ parts, scale, isOff, toggle }) {
  const [at, setAt] = useState(null); // where the Tab key comes in
  const rows = Object.entries(Object.groupBy(parts, ({ name }) => layerOf(name) ?? name));
  const [layer, row] = rows.find(([title]) => layerOf(title));
  const columns = row.map(({ name }) => name.slice(layer.length));
  const stop = parts.some(({ name }) => name === at) ? at : parts[0].name;
  const button = (name, value) => (
    <button value={name} style={scale.style(value)} aria-pressed={isOff(name)}
      tabIndex={name === stop ? 0 : -1} aria-label={`${name} ${signed(value)}`}>
      {signed(value, 2)}
    </button>
  );
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
            {row.map(({ name, value }) => <td>{button(name, value)}</td>)}
          </tr>
        ))}
      </table>
    </div>
  );
}
