// One head: its map, and for one token of the text what it looks at and what looks at it.
import { useMemo, useState } from "preact/hooks";
import { indexOf } from "./addressed.js";
import { SCORES } from "./attention.jsx";
import { short } from "./colours.js";
import { Labelled } from "./labelled.jsx";
import { Shares } from "./shares.jsx";
import { Tokens } from "./tokens.jsx";
import { named, visible } from "./visible.js";

const MOST = 5; // tokens that are listed
const NAMED = 40; // tokens that can still be read beside a map

export function Head({ chosen, scores, position, put, scales: [looks, seen] }) {
  const { layer, head, tokens, pattern: { shape: [T], values } } = chosen;
  const [over, setOver] = useState(null);
  const pinned = indexOf(position, T, T - 1);
  const t = indexOf(over, T, pinned);
  const past = useMemo(() => values.map((w, i) => (i % T > i / T ? NaN : w)), [values]);
  // No token looks at a later one, so one text has room for both: what t looks at, up to t itself,
  // and from there on what looks at t.
  const weight = (i) => (i <= t ? values[t * T + i] : values[i * T + t]);
  const name = (i) => `${named(tokens.texts[i])} at ${i}`;
  const most = (from, to) => [...Array(to).keys()].slice(from)
    .sort((a, b) => weight(b) - weight(a)).slice(0, MOST).map((i) => [name(i), weight(i)]);
  const names = T <= NAMED ? tokens.texts.map(visible) : [];
  const own = layer * scores.previous.shape[1] + head;
  const scored = Object.keys(SCORES).map((name) => `${SCORES[name]} ${short(scores[name].values[own])}`);
  const band = (kind, ...box) => {
    const [left, top, width, height] = box.map((cells) => `${(100 * cells) / T}%`);
    return <i class={`band ${kind}`} style={{ left, top, width, height }} />;
  };
  return (
    <section class="head-shown" aria-labelledby="head-shown">
      <h3 id="head-shown">L{layer}H{head}</h3>
      <p class="small scored">{scored.join(", ")}</p>
      <Tokens tokens={tokens} current={pinned} onHover={setOver} onPick={(position) => put({ position })}
        colourOf={(i) => (i <= t ? looks : seen).style(weight(i))}
        labelOf={(i) => `${i <= t ? "looked at by" : "looks at"} ${t}: ${short(weight(i))}`} />
      <div class="beside">
        <Labelled values={past} rows={T} cols={T} scale={looks} cell={Math.min(28, Math.max(1.2, 460 / T))}
          label={`Attention of L${layer}H${head}`} onPick={([position]) => put({ position })}
          left={names} above={names} rowLabel={name} colLabel={name} between=" looks at "
          tell={(w) => (Number.isNaN(w) ? "never, it is later" : short(w))}>
          {band("", 0, t, t + 1, 1)}
          {band("back", t, t, 1, T - t)}
        </Labelled>
        <div class="sides">
          <h4>{name(t)} looks at</h4>
          <Shares label="What it looks at" items={most(0, t + 1)} />
          <h4>{t < T - 1 ? "Later tokens that look at it" : "No later token looks at it"}</h4>
          <Shares label="What looks at it" items={most(t + 1, T)} />
        </div>
      </div>
    </section>
  );
}
