// A map of numbers that is read cell by cell: by pointer, by finger, by arrow keys.
import { useState } from "preact/hooks";
import { short } from "./colours.js";
import { Pixels } from "./pixels.jsx";
import { useScale } from "./scale.jsx";

export const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** The index of the cell at a share of the way along `count` cells. */
const part = (share, count) => Math.min(count - 1, Math.max(0, Math.floor(share * count + 1e-9)));

/**
 * `values` row by row; `current` and what the listeners are told are [row, col]. A cell is at most
 * `cell` px wide and high; with `height` the map is so many px high, whatever its
 * cells are then. `children` lie upon the map. `between` stands between the labels of a
 * row and a column, where a cell is told.
 */
export function Heatmap({
  values, rows, cols, label, scale, current, onHover, onPick, cell = 24, height,
  rowLabel = (row) => `row ${row}`, colLabel = (col) => `column ${col}`, tell = short,
  between = ", ", children,
}) {
  const own = useScale(0, 1);
  const [over, setOver] = useState(null);
  const [row, col] = over ?? current ?? [0, 0];
  const at = (over ?? current) && row < rows && col < cols ? [row, col] : null;
  const look = (place) => {
    if (place?.join() === over?.join()) return;
    setOver(place);
    onHover?.(place);
  };
  const placeOf = ({ currentTarget, clientX, clientY }) => {
    const box = currentTarget.getBoundingClientRect();
    const [down, right] = [(clientY - box.top) / box.height, (clientX - box.left) / box.width];
    return [part(down, rows), part(right, cols)];
  };
  const press = (event) => {
    const [down, right] = MOVES[event.key] ?? [0, 0];
    if (event.key in MOVES) {
      const from = at ?? [0, 0];
      look([part((from[0] + down) / rows, rows), part((from[1] + right) / cols, cols)]);
    } else if (event.key === "Enter" || event.key === " ") onPick?.(at ?? [0, 0]);
    else return;
    event.preventDefault();
  };
  const share = (n, all) => `${(100 * n) / all}%`;
  return (
    <div class="heatmap" style={{ "--width": `${cols * cell}px` }}>
      <div class="map" tabIndex={0} role="application" aria-roledescription="heat map"
        aria-label={label} style={height ? { height: `${height}px` } : { aspectRatio: `${cols} / ${rows}` }}
        onKeyDown={press} onPointerMove={(event) => look(placeOf(event))}
        onPointerLeave={() => look(null)} onBlur={() => look(null)}
        onClick={(event) => onPick?.(placeOf(event))}>
        <Pixels values={values} rows={rows} cols={cols} scale={scale ?? own} />
        {children}
        {at && (
          <i class="at" style={{
            left: share(col, cols), width: share(1, cols), top: share(row, rows), height: share(1, rows),
          }} />
        )}
      </div>
      <p class="tell" aria-live="polite">
        {at
          ? <>{rowLabel(row)}{between}{colLabel(col, row)}: <b>{tell(values[row * cols + col])}</b></>
          : "\u00a0"}
      </p>
    </div>
  );
}
