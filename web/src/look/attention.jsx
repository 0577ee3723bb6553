// Attention: every head small, with how far it does what heads are known to do; one of them large.
import { useMemo, useState } from "preact/hooks";
import { indexOf, useAddressed } from "./addressed.js";
import { Choice } from "./choice.jsx";
import { OTHER, SEQUENTIAL, short } from "./colours.js";
import { Frame } from "./frame.jsx";
import { moveFocus } from "./grid.js";
import { Head } from "./head.jsx";
import { useInspect } from "./inspect.js";
import { Pixels } from "./pixels.jsx";
import { Scale, useScale } from "./scale.jsx";
import "./attention.css";

export const SCORES = { previous: "previous token", first: "first token", induction: "induction" };
const LEGEND = `In a map each row is a token that looks, each column a token that is looked at. A row
  sums to 1; no token looks at a later one. The small maps show the highest weight where several
  cells fall together. Scores are means over the text of the attention to the token before, to the
  first token, and to what followed earlier copies of the token at hand (induction).`;

/** From 0 to 1, with more colours for the small weights, of which there are far more. */
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
  const scales = [useWeights(SEQUENTIAL), useWeights(OTHER)];
  const choose = (layer, head) => put({ layer, head });
  const look = {
    ...all, data: all.data && { ...all.data, chosen: shown },
    problem: all.problem ?? one.problem, again: () => (all.again(), one.again()),
  };
  return (
    <Frame name="attention" title="Attention" look={look}
      question="Which earlier tokens does each head look at?"
      controls={all.data && [
        <Choice label="Mark heads by" options={SCORES} value={score} choose={(score) => put({ score })} />,
        <Strongest {...all.data} {...{ score, choose }} />,
      ]}
      legend={[
        <div class="row">
          <Scale scale={scales[0]} label="what a token looks at" />
          <Scale scale={scales[1]} label="what looks at it" />
        </div>,
        <p>{LEGEND}</p>,
      ]}>
      <div class="beside">
        <Heads data={all.data} scale={scales[0]} {...{ score, layer, head, choose }} />
        {shown && (
          <Head {...{ shown, scales, put }} scores={all.data} position={at.position}
            stale={one.waiting || shown.layer !== layer || shown.head !== head} />
        )}
      </div>
    </Frame>
  );
}

function Strongest({ tokens: { ids }, score, choose, ...scores }) {
  const { values, shape: [, H] } = scores[score];
  if (Number.isNaN(values[0])) {
    const beside = new Set(ids).size < ids.length ? ", but beside itself" : "";
    const none = ids.length === 1 ? "one token has none before it" : "no token repeats in this text";
    return <p class="none">{none}{beside}</p>;
  }
  const best = values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
  const [layer, head] = [Math.floor(best / H), best % H];
  const told = `strongest: L${layer}H${head}, ${values[best].toFixed(2)}`;
  return <button onClick={() => choose(layer, head)}>{told}</button>;
}

const list = (count, of) => Array.from({ length: count }, (_, i) => of(i));

/** All heads, a row for a layer; the one that has the focus is chosen. */
function Heads({ data, score, scale, layer, head, choose }) {
  const { thumbnails: { shape: [L, H, S], values: pixels }, [score]: { values } } = data;
  const pitch = S + Math.ceil(S / 8); // cells from head to head
  // A picture for each layer: of a thousand heads each in its own, browsers grow slow.
  const strips = useMemo(() => list(L, (l) => {
    const strip = new Float32Array(S * H * pitch).fill(NaN);
    for (let i = 0; i < H * S * S; i++) {
      const [h, row, col] = [Math.floor(i / S / S), Math.floor(i / S) % S, i % S];
      strip[(row * H + h) * pitch + col] = pixels[l * H * S * S + i] / 255;
    }
    return strip;
  }), [pixels]);
  const most = `min(${Math.min(88, Math.floor(440 / H))}px, (100vw - 84px) / ${H})`;
  const side = `max(${Math.max(pitch, 36)}px, ${most})`; // a pixel for a cell, so none is lost
  return (
    <div class="scrolled heads">
      <table role="grid" aria-label="Heads" onKeyDown={moveFocus}
        style={{ "--side": side, "--heads": H, "--drawn": S / pitch }}>
        <thead><tr><td />{list(H, (h) => <th key={h} scope="col">H{h}</th>)}</tr></thead>
        <tbody>
          {list(L, (l) => (
            <tr key={l}>
              <th scope="row">L{l}</th>
              {list(H, (h) => {
                const [chosen, value] = [l === layer && h === head, values[l * H + h]];
                return (
                  <td key={h} role="gridcell" aria-selected={chosen} tabIndex={chosen ? 0 : -1}
                    aria-label={`L${l}H${h}, ${SCORES[score]} ${short(value)}`}
                    onFocus={() => choose(l, h)}>
                    {h === 0 && <Pixels values={strips[l]} rows={S} cols={H * pitch} scale={scale} />}
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
