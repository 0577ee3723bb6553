// Tables that are walked by arrow keys: every cell can have the focus, one is a stop of the Tab key.
import { MOVES } from "./heatmap.jsx";

export function moveFocus(event) {
  const [down, right] = MOVES[event.key] ?? [];
  const cell = event.target.closest("td");
  if (!cell || down === undefined) return;
  event.preventDefault();
  const row = cell.closest("table").rows[cell.parentNode.rowIndex + down];
  row?.cells[cell.cellIndex + right]?.focus(); // what is no cell cannot have it
}
