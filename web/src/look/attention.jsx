// Attention: every head small, in a frame that tells how far it does what heads are known to do.
import { useMemo } from "preact/hooks";
import { indexOf, useAddressed } from "./addressed.js";
import { Choice } from "./choice.jsx";
import { OTHER, SEQUENTIAL } from "./colours.js";
import { Frame } from "./frame.jsx";
import { Head } from "./head.jsx";
import { joined, useInspect } from "./inspect.js";
import { Labelled } from "./labelled.jsx";
import { Pixels } from "./pixels.jsx";
import { Scale, useScale } from "./scale.jsx";
import "./attention.css";

export const SCORES = { previous: "previous token", first: "first token", induction: "induction" };
const LEGEND = `In a map each row is a token that looks, each column a token that is looked at; a row
  sums to 1. A small map shows the highest weight where several cells fall together; the colour of
  its frame is the head’s score: the mean attention, over the text, to the token before, to the first
  token, or to what followed earlier copies of a token (induction; undefined where none repeats).`;

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
  const [scales, framing] = [[useWeights(SEQUENTIAL), useWeights(OTHER)], useScale(0, 1, OTHER)];
  return (
    <Frame name="attention" title="Attention" look={joined(all, one, { chosen })}
      question="Which earlier tokens does each head look at?"
      controls={
        <Choice label="Frame heads by" options={SCORES} value={score} choose={(score) => put({ score })} />
      }
      legend={[
        <div class="row">
          <Scale scale={scales[0]} label="what a token looks at" />
          <Scale scale={scales[1]} label="what looks at it" />
          <Scale scale={framing} label="a head’s score" />
        </div>,
        <p>{LEGEND}</p>,
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
