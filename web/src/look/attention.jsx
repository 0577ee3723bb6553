// Attention: every head small, in a frame that tells how far it does what heads are known to do.
import { useMemo, useState } from "preact/hooks";
import { indexOf, useAddressed } from "../address.js";
import { OTHER, SEQUENTIAL, THIRD, short } from "./colours.js";
import { Choice, Frame } from "./frame.jsx";
import { joined, useInspect } from "./inspect.js";
import { Labelled, Pixels } from "./heatmap.jsx";
import { Scale, Shares, useScale } from "./scale.jsx";
import { Tokens } from "./tokens.jsx";
import { named, visible } from "./visible.js";

const SCORES = { previous: "previous token", first: "first token", induction: "induction" };
const MOST = 5; // tokens that are listed
const NAMED = 40; // tokens that can still be read beside a map

/** From 0 to 1, with more colours for the small weights, of which there are far more. */
function useWeights(names) {
  const even = useScale(0, 1, names);
  const curved = (of) => (weight) => of(Math.sqrt(weight));
  return useMemo(() => ({ ...even, rgb: curved(even.rgb), style: curved(even.style) }), [even]);
}

export function Attention({ model, text }) {
  const [at, put] = useAddressed();
  const { n_layer, n_head } = model.minigpt2;
  const [layer, head] = [indexOf(at.layer, n_layer), indexOf(at.head, n_head)];
  const all = useInspect(model, text, { view: "attention" });
  const one = useInspect(model, text, { view: "attention", layer, head });
  const chosen = one.data && { ...one.data, ...JSON.parse(one.request) }; // of which layer and head
  const score = at.score in SCORES ? at.score : "previous";
  const [framing, ...scales] = [useWeights(THIRD), useWeights(SEQUENTIAL), useWeights(OTHER)];
  return (
    <Frame name="attention" look={joined(all, one, { chosen })}
      controls={<Choice label="Frame by" options={SCORES} value={score} choose={(score) => put({ score })} />}
      scales={[
        <Scale scale={scales[0]} label="what a token looks at" />,
        <Scale scale={scales[1]} label="what looks at it" />, <Scale scale={framing} label="a head’s score" />,
      ]}>
      <div class="beside">
        <Heads data={all.data} {...{ score, framing }} scale={scales[0]} current={[layer, head]}
          choose={([layer, head]) => put({ layer, head })} />
        {chosen && <Head {...{ chosen, scales, put }} scores={all.data} position={at.position} />}
      </div>
    </Frame>
  );
}

const numbered = (letter, count) => Array.from({ length: count }, (_, i) => letter + i);

/** A map of the heads' scores; on each lies the head's own map, so that a frame is left of the score. */
function Heads({ data, score, framing, scale, current, choose }) {
  const { thumbnails: { shape: [L, H, S], values: pixels } } = data;
  const edge = Math.ceil(S / 12);
  const pitch = S + 2 * edge; // cells from head to head
  const maps = useMemo(() => {
    const sheet = new Float32Array(L * H * pitch * pitch).fill(NaN);
    pixels.forEach((pixel, i) => {
      const [row, col] = [Math.floor(i / S) % S, i % S];
      const [layer, head] = [Math.floor(i / S / S / H), Math.floor(i / S / S) % H];
      sheet[((layer * pitch + edge + row) * H + head) * pitch + edge + col] = pixel / 255;
    });
    return sheet;
  }, [pixels]);
  return (
    <Labelled label="Heads" values={data[score].values} rows={L} cols={H} scale={framing}
      least={pitch} cell={Math.max(pitch, Math.min(88, 440 / H))} // a pixel for a cell, so none is lost
      left={numbered("L", L)} above={numbered("H", H)} current={current} onPick={choose} between=""
      rowLabel={(layer) => `L${layer}`} colLabel={(head) => `H${head}, ${SCORES[score]}`}>
      <Pixels values={maps} rows={L * pitch} cols={H * pitch} scale={scale} />
    </Labelled>
  );
}

/** One head: its map, and for one token what it looks at and what looks at it. */
function Head({ chosen, scores, position, put, scales: [looks, seen] }) {
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
