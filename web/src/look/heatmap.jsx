// Maps of numbers: pixels, a map that is read cell by cell, and one with the names of its rows and
// columns.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { short } from "./colours.js";
import { moveByKey, within } from "./grid.js";

const LONGEST = 9; // letters of a name that are shown at the side

/** One pixel of the canvas a cell, made larger by CSS. What it means is said by who draws it. */
export function Pixels({ values, rows, cols, scale }) {
  const canvas = useRef();
  useLayoutEffect(() => {
    const picture = new ImageData(cols, rows);
    values.forEach((value, i) => {
      const colour = scale.rgb(value);
      if (colour) picture.data.set([...colour, 255], 4 * i); // what has none stays clear
    });
    canvas.current.getContext("2d").putImageData(picture, 0, 0);
  }, [values, rows, cols, scale]);
  return <canvas ref={canvas} class="pixels" width={cols} height={rows} aria-hidden="true" />;
}

/**
 * A map that is read by pointer, by finger, by arrow keys. `values` row by row; `current` and what the listeners are told are [row, col]. A cell is at most
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

const Names = ({ side, names }) => (
  <div class={`names ${side}`} aria-hidden="true">{names.map((name, i) => <span key={i}>{name}</span>)}</div>
);

/** A map whose names `left` and `above` stay in sight while it scrolls; a cell is `least` to `cell` px wide. The rest is as in Heatmap. */
export function Labelled({ left, above, cols, cell, least = 0, current, onHover, ...map }) {
  const box = useRef();
  const [over, setOver] = useState(null);
  useEffect(() => {
    if (box.current.matches(":hover:not(:has(:focus-visible))")) return; // the pointer is there
    box.current.querySelector(".at")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [String(over ?? current)]);
  const side = Math.min(LONGEST, Math.max(0, ...left.map((name) => name.length)));
  const sizes = { "--side": `${side + 1}ch`, "--least": `${cols * least}px`, "--most": `${cols * cell}px` };
  return (
    <div class="labelled" ref={box} style={sizes}>
      <Names side="above" names={above} />
      <div class="lines">
        <Names side="left" names={left} />
        <Heatmap {...map} {...{ cols, cell, current }} onHover={(at) => (setOver(at), onHover?.(at))} />
      </div>
    </div>
  );
}
