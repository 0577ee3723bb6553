// A map of numbers that is read cell by cell: by pointer, by finger, by arrow keys.
import { useState } from "preact/hooks";
import { short } from "./colours.js";
import { moveByKey, within } from "./grid.js";
import { Pixels } from "./pixels.jsx";

/**
 * `values` row by row; `current` and what the listeners are told are [row, col]. A cell is at most
 * `cell` px wide and high; with `height` the map is so many px high, whatever its
 * cells are then. `children` lie upon the map. `between` stands between the labels of a
 * row and a column, where a cell is told.
 */
export function Heatmap({
  values, rows, cols, label, scale, current, onHover, onPick, cell = 24, height, rowLabel, colLabel,
  tell = short, between = ", ", children,
}) {
  const [over, setOver] = useState(null);
  const [row, col] = over ?? current ?? [0, 0];
  const marked = (over ?? current) && row < rows && col < cols;
  const look = (place) => {
    if (place?.join() === over?.join()) return;
    setOver(place);
    onHover?.(place);
  };
  const placeOf = ({ currentTarget, clientX, clientY }) => {
    const box = currentTarget.getBoundingClientRect();
    const [down, right] = [(clientY - box.top) / box.height, (clientX - box.left) / box.width];
    return [within(Math.floor(down * rows), rows), within(Math.floor(right * cols), cols)];
  };
  const move = (down, right) => look([within(row + down, rows), within(col + right, cols)]);
  const [wide, high] = [100 / cols, 100 / rows].map((part) => (n) => `${n * part}%`);
  return (
    <div class="heatmap" style={{ "--width": `${cols * cell}px` }}>
      <div class="map" tabIndex={0} role="application" aria-roledescription="heat map" aria-label={label}
        style={height ? { height: `${height}px` } : { aspectRatio: `${cols} / ${rows}` }}
        onKeyDown={(event) => moveByKey(event, move, () => onPick?.([row, col]))}
        onPointerMove={(event) => look(placeOf(event))}
        onPointerLeave={() => look(null)} onBlur={() => look(null)}
        onClick={(event) => onPick?.(placeOf(event))}>
        <Pixels {...{ values, rows, cols, scale }} />
        {children}
        {marked
          && <i class="at" style={{ left: wide(col), width: wide(1), top: high(row), height: high(1) }} />}
      </div>
      <p class="tell" aria-live="polite">
        {marked && <>{rowLabel(row)}{between}{colLabel(col, row)}: <b>{tell(values[row * cols + col])}</b></>}
      </p>
    </div>
  );
}
