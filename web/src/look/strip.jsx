// A vector as a strip of coloured cells, folded where it is long; or a matrix, a named row each.
import { DIVERGING, short } from "./colours.js";
import { Heatmap } from "./heatmap.jsx";
import { useScale } from "./scale.jsx";

const [LONGEST, SHORTEST] = [256, 64]; // cells in a row of what is folded

/** [rows, cols] of a vector: whole if it is short, else in rows that it fills exactly. */
function folded([size]) {
  let cols = Math.min(size, LONGEST);
  while (cols >= SHORTEST && size % cols) cols--;
  return cols < SHORTEST ? [1, size] : [size / cols, cols];
}

/** `marked` is the index of the cell that is told, or null; `mark` and `pin` are told indices. */
export function Strip({ name, array: { shape, values }, limit, unit, marked, mark, pin, rowName }) {
  const scale = useScale(-limit, limit, DIVERGING);
  const [rows, cols] = rowName ? shape : folded(shape);
  const at = (place) => place && place[0] * cols + place[1];
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const stats = `norm ${short(Math.hypot(...values))}, mean ${short(mean)}`;
  return (
    <div class="strip">
      <code>{name}</code>
      <span class="stats small">{rowName ? `${rows} × ${cols}` : stats}</span>
      <Heatmap {...{ values, rows, cols, scale }} height={Math.min(120, Math.max(18, 6 * rows))}
        label={`${name}: ${shape.join(" by ")} numbers`} rowLabel={rowName ?? (() => name)}
        colLabel={(col, row) => `${unit} ${rowName ? col : at([row, col])}`}
        current={marked === null ? null : [Math.floor(marked / cols), marked % cols]}
        onHover={(place) => mark(at(place))} onPick={(place) => pin(at(place))} />
    </div>
  );
}
