// A heat map between the names of its rows and columns, which stay in sight while it scrolls.
import { useEffect, useRef, useState } from "preact/hooks";
import { Heatmap } from "./heatmap.jsx";

const LONGEST = 9; // letters of a name that are shown at the side

const Names = ({ side, names }) => (
  <div class={`names ${side}`} aria-hidden="true">{names.map((name, i) => <span key={i}>{name}</span>)}</div>
);

/** `left` and `above` are names; a cell is `least` to `cell` px wide. The rest is as in Heatmap. */
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
