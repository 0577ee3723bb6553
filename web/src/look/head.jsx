// One head: its map, and for one token of the text what it looks at and what looks at it.
import { useMemo, useState } from "preact/hooks";
import { indexOf } from "./addressed.js";
import { SCORES } from "./attention.jsx";
import { short } from "./colours.js";
import { Heatmap } from "./heatmap.jsx";
import { Shares } from "./shares.jsx";
import { Tokens } from "./tokens.jsx";
import { named, visible } from "./visible.js";

const MOST = 5; // tokens that are listed
const LABELLED = 40; // tokens that can still be read beside a map

export function Head({ shown, scores, position, put, scales: [looks, seen], stale }) {
  const { layer, head, tokens, pattern: { shape: [T], values } } = shown;
  const [over, setOver] = useState(null);
  const pinned = indexOf(position, T, T - 1);
  const t = indexOf(over, T, pinned);
  const past = useMemo(() => values.map((w, i) => (i % T > i / T ? NaN : w)), [values]);
  // No token looks at a later one, so one text has room for both: what t looks at, up to t itself,
  // and from there on what looks at t.
  const weight = (i) => (i <= t ? values[t * T + i] : values[i * T + t]);
  const name = (i) => `${named(tokens.texts[i])} at ${i}`;
  const most = (from, to) =>
    [...Array(to).keys()].slice(from).sort((a, b) => weight(b) - weight(a)).slice(0, MOST)
      .map((i) => [name(i), weight(i)]);
  const relation = (i) => (i === t ? "looks at itself" : i < t ? `${t} looks at it` : `looks at ${t}`);
  const part = (n) => `${(100 * n) / T}%`;
  const axis = (way, edge) => T <= LABELLED && (
    <div class={`axis ${way}`} aria-hidden="true">
      {tokens.texts.map((text, i) => (
        <span class={i === t ? "here" : ""} style={{ [edge]: part(i + 0.5) }}>{visible(text)}</span>
      ))}
    </div>
  );
  const scored = Object.entries(SCORES).map(([score, called]) => {
    const { shape: [, H], values } = scores[score];
    return `${called} ${short(values[layer * H + head])}`;
  });
  return (
    <section class={stale ? "head-shown stale" : "head-shown"} aria-labelledby="head-shown">
      <h3 id="head-shown">L{layer}H{head}</h3>
      <p class="small scored">{scored.join(", ")}</p>
      <Tokens tokens={tokens} current={pinned} onHover={setOver} onPick={(position) => put({ position })}
        colourOf={(i) => (i <= t ? looks : seen).style(weight(i))}
        labelOf={(i) => `${relation(i)}: ${short(weight(i))}`} />
      <div class={T <= LABELLED ? "beside labelled" : "beside"}>
        <Heatmap values={past} rows={T} cols={T} scale={looks} cell={Math.min(28, Math.max(1.2, 460 / T))}
          label={`Attention of L${layer}H${head}`} onPick={([position]) => put({ position })}
          rowLabel={name} colLabel={name} between=" looks at "
          tell={(w) => (Number.isNaN(w) ? "never, it is later" : short(w))}>
          {axis("down", "top")}
          {axis("right", "left")}
          <i class="band" style={{ left: 0, top: part(t), width: part(t + 1), height: part(1) }} />
          <i class="band back" style={{ left: part(t), top: part(t), width: part(1), height: part(T - t) }} />
        </Heatmap>
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
