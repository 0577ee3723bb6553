// Attention: every head small, with how far it does what heads are known to do; one of them large.
import { useMemo, useRef, useState } from "preact/hooks";
import { indexOf, useAddressed } from "./addressed.js";
import { Choice } from "./choice.jsx";
import { SEQUENTIAL, short } from "./colours.js";
import { Frame } from "./frame.jsx";
import { Heatmap, MOVES } from "./heatmap.jsx";
import { useInspect } from "./inspect.js";
import { Pixels } from "./pixels.jsx";
import { Scale, useScale } from "./scale.jsx";
import { Shares } from "./shares.jsx";
import { Tokens } from "./tokens.jsx";
import { named, visible } from "./visible.js";
import "./attention.css";

const SCORES = { previous: "previous token", first: "first token", induction: "induction" };
const BACK = ["--sheet", "--warn"]; // who looks at a token, beside what it looks at
const MOST = 5; // tokens that are listed
const LABELLED = 40; // tokens that can still be read beside a map

/** From 0 to 1, and far more colours for the small weights, of which there are far more. */
function useWeights(names) {
  const even = useScale(0, 1, names);
  return useMemo(() => {
    const [rgb, style] = [even.rgb, even.style].map((of) => (weight) => of(Math.sqrt(weight)));
    return { ...even, rgb, style };
  }, [even]);
}

export function Attention({ model, text }) {
  const [at, put] = useAddressed();
  const all = useInspect(model, text, { view: "attention" });
  const [L, H] = all.data?.thumbnails.shape ?? [0, 0];
  const [layer, head] = [indexOf(at.layer, L), indexOf(at.head, H)];
  const known = all.data && JSON.parse(all.request).model === model.id; // how many heads it has
  const one = useInspect(model, text, known ? { view: "attention", layer, head } : null);
  const shown = one.data && { ...one.data, ...JSON.parse(one.request) }; // of which layer and head
  const score = at.score in SCORES ? at.score : "previous";
  const shared = { data: all.data, score, choose: (layer, head) => put({ layer, head }) };
  const scales = [useWeights(SEQUENTIAL), useWeights(BACK)];
  const look = {
    ...all, problem: all.problem ?? one.problem, again: () => (all.again(), one.again()),
    data: all.data && { ...all.data, chosen: shown },
  };
  return (
    <Frame name="attention" title="Attention" look={look}
      question="Which earlier tokens does each head look at?"
      controls={all.data && (
        <>
          <Choice label="Mark heads by" options={SCORES} value={score}
            choose={(score) => put({ score })} />
          <Strongest {...shared} />
        </>
      )}
      legend={<Legend scales={scales} />}>
      <div class="attention">
        <Heads {...shared} {...{ layer, head, scale: scales[0] }} />
        {shown && (
          <Head {...{ shown, scores: all.data, position: at.position, put, scales }}
            stale={one.waiting || shown.layer !== layer || shown.head !== head} />
        )}
      </div>
    </Frame>
  );
}

function Legend({ scales: [looks, seen] }) {
  return (
    <>
      <div class="row">
        <Scale scale={looks} label="what a token looks at" />
        <Scale scale={seen} label="what looks at it" />
      </div>
      <p>
        In a map each row is a token that looks, each column a token that is looked at. A row sums
        to 1; no token looks at a later one. The small maps show the highest weight where several
        cells fall together. Scores are means over the text of the attention to the token before, to
        the first token, and to what followed earlier copies of the token at hand (induction).
      </p>
    </>
  );
}

function Strongest({ data, score, choose }) {
  const { values, shape: [, H] } = data[score];
  if (Number.isNaN(values[0])) {
    const repeats = new Set(data.tokens.ids).size < data.tokens.ids.length;
    const none = repeats ? "no token repeats in this text, but beside itself" : "no token repeats in this text";
    return <p class="none">{score === "induction" ? none : "one token has none before it"}</p>;
  }
  const best = values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
  const [layer, head] = [Math.floor(best / H), best % H];
  return (
    <button onClick={() => choose(layer, head)}>
      strongest: L{layer}H{head}, {values[best].toFixed(2)}
    </button>
  );
}

/** All heads, a row for a layer: one stop of the Tab key, arrow keys choose. */
function Heads({ data, score, layer, head, choose, scale }) {
  const { thumbnails, [score]: scores } = data;
  const [L, H, S] = thumbnails.shape;
  const table = useRef();
  const gap = Math.ceil(S / 8); // cells between two heads
  // A picture for each layer: of a thousand heads each in its own, browsers grow slow.
  const strips = useMemo(() => Array.from({ length: L }, (_, l) => {
    const strip = new Float32Array(S * H * (S + gap)).fill(NaN);
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < S * S; i++) {
        const to = (Math.floor(i / S) * H + h) * (S + gap) + (i % S);
        strip[to] = thumbnails.values[(l * H + h) * S * S + i] / 255;
      }
    }
    return strip;
  }), [thumbnails]);
  const press = (event) => {
    const [down, right] = MOVES[event.key] ?? [];
    if (down === undefined) return;
    event.preventDefault();
    const to = [layer + down, head + right];
    if (to[0] < 0 || to[0] >= L || to[1] < 0 || to[1] >= H) return;
    choose(...to);
    table.current.rows[to[0] + 1].cells[to[1] + 1].focus();
  };
  const side = Math.max(S + gap, Math.min(88, Math.floor(440 / H)), 36); // px: none of its cells is lost
  return (
    <div class="heads">
      <table ref={table} role="grid" aria-label="Heads" style={{ "--side": `${side}px`, "--heads": H, "--drawn": S / (S + gap) }} onKeyDown={press}>
        <thead>
          <tr><td />{Array.from({ length: H }, (_, h) => <th key={h} scope="col">H{h}</th>)}</tr>
        </thead>
        <tbody>
          {Array.from({ length: L }, (_, l) => (
            <tr key={l}>
              <th scope="row">L{l}</th>
              {Array.from({ length: H }, (_, h) => {
                const [chosen, value] = [l === layer && h === head, scores.values[l * H + h]];
                return (
                  <td key={h} role="gridcell" aria-selected={chosen} tabIndex={chosen ? 0 : -1}
                    aria-label={`L${l}H${h}, ${SCORES[score]} ${short(value)}`}
                    onClick={() => choose(l, h)}>
                    {h === 0 && <Pixels values={strips[l]} rows={S} cols={H * (S + gap)} scale={scale} />}
                    <span class="share" style={{ "--share": value || 0 }}>
                      {Number.isNaN(value) ? "–" : value.toFixed(2)}
                    </span>
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** One head: its map, and for one token what it looks at and what looks at it. */
function Head({ shown, scores, position, put, scales: [looks, seen], stale }) {
  const { layer, head, tokens, pattern: { shape: [T], values } } = shown;
  const [over, setOver] = useState(null);
  const pinned = indexOf(position, T, T - 1);
  const t = indexOf(over, T, pinned);
  const past = useMemo(() => values.map((w, i) => (i % T > i / T ? NaN : w)), [values]);
  // No token looks at a later one, so a text has room for both: what t looks at, up to t itself,
  // and from there on what looks at t.
  const weight = (i) => (i <= t ? values[t * T + i] : values[i * T + t]);
  const name = (i) => `${named(tokens.texts[i])} at ${i}`;
  const most = (from, to) =>
    Array.from({ length: to - from }, (_, i) => from + i)
      .sort((a, b) => weight(b) - weight(a)).slice(0, MOST).map((i) => [name(i), weight(i)]);
  const pick = (position) => put({ position });
  const tell = (i) =>
    `${i === t ? "looks at itself" : i < t ? `${t} looks at it` : `looks at ${t}`}: ${short(weight(i))}`;
  const part = (n) => `${(100 * n) / T}%`;
  const axis = (way, edge) => T <= LABELLED && (
    <div class={`axis ${way}`} aria-hidden="true">
      {tokens.texts.map((text, i) => (
        <span key={i} class={i === t ? "here" : ""} style={{ [edge]: part(i + 0.5) }}>{visible(text)}</span>
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
      <Tokens tokens={tokens} current={pinned} onHover={setOver} onPick={pick} labelOf={tell}
        colourOf={(i) => (i <= t ? looks : seen).style(weight(i))} />
      <div class="both">
        <div class={T <= LABELLED ? "labelled" : ""}>
          <Heatmap values={past} rows={T} cols={T} scale={looks} label={`Attention of L${layer}H${head}`}
            cell={Math.min(28, Math.max(1.2, 460 / T))} onPick={([row]) => pick(row)}
            rowLabel={name} colLabel={name} between=" looks at "
            tell={(w) => (Number.isNaN(w) ? "never, it is later" : short(w))}>
            {axis("down", "top")}
            {axis("right", "left")}
            <i class="band" style={{ left: 0, top: part(t), width: part(t + 1), height: part(1) }} />
            <i class="band back" style={{ left: part(t), top: part(t), width: part(1), height: part(T - t) }} />
          </Heatmap>
        </div>
        <div class="sides">
          <h4>{name(t)} looks at</h4>
          <Shares label="What it looks at" items={most(0, t + 1)} />
          <h4>Later tokens that look at it</h4>
          {t < T - 1
            ? <Shares label="What looks at it" items={most(t + 1, T)} />
            : <p class="small">There are none.</p>}
        </div>
      </div>
    </section>
  );
}
