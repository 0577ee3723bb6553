// Cells that are walked by arrow keys: all of them can have the focus, one is a stop of the Tab key.
const MOVES = { // so far down and right
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
  Home: [0, -Infinity], End: [0, Infinity],
};

/** The index nearest to `i` of `count` things. */
export const within = (i, count) => Math.min(count - 1, Math.max(0, i));

/** Do what a key means among cells: `move(down, right)`, or `pick()` where that is given. */
export function moveByKey(event, move, pick) {
  if (event.key in MOVES) move(...MOVES[event.key]);
  else if (pick && (event.key === "Enter" || event.key === " ")) pick();
  else return;
  event.preventDefault();
}

/** For tables: from cell to cell, or from button to button if that is what is in them. */
export const moveFocus = (event) => moveByKey(event, (down, right) => {
  const cell = event.target.closest("td, th");
  const row = cell.closest("table").rows[cell.parentNode.rowIndex + down];
  const next = row?.cells[within(cell.cellIndex + right, row.cells.length)];
  (next?.querySelector("button") ?? next)?.focus(); // what is no cell cannot have it
});
