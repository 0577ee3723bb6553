// The way of one token through the layers: its rank and its probability after each of them.
import { short } from "./colours.js";
import { layerName } from "./lens.jsx";
import { named } from "./visible.js";

const [WIDE, HIGH, EDGE] = [76, 96, 8]; // px: a layer, a curve, and what lies around it
const whole = (number) => number.toLocaleString("en");

export function Path({ path, tokens, position, vocabulary, stale, close }) {
  const { token, ranks: { values: ranks }, probabilities: { values: probabilities } } = path;
  const depth = (rank) => Math.log(rank) / Math.log(vocabulary); // from 0 for the first to 1
  return (
    <section class={stale ? "path stale" : "path"} aria-labelledby="path">
      <h3 id="path">{named(token.text)} after {named(tokens.texts[position])} at {position}</h3>
      <button onClick={close}>Close</button>
      <div class="scrolled">
        <table>
          <tr><td />{[...ranks].map((_, row) => <th scope="col">{layerName(row, ranks.length)}</th>)}</tr>
          <Curve name="rank" values={ranks} tell={whole} down={depth} ends={[1, whole(vocabulary)]} />
          <Curve name="probability" values={probabilities} tell={short} down={(p) => 1 - p} ends={[1, 0]} />
        </table>
      </div>
      <p class="small">Rank 1 is the likeliest of {whole(vocabulary)} tokens; ranks are on a log scale.</p>
    </section>
  );
}

/** The values, and a line through them; `down` is how far from the top, from 0 to 1. */
function Curve({ name, values, tell, down, ends }) {
  const points = Array.from(values, (v, i) => [WIDE * (i + 0.5), EDGE + down(v) * (HIGH - 2 * EDGE)]);
  return [
    <tr aria-hidden="true">
      <th scope="row" class="ends">{ends.map((end) => <span>{end}</span>)}</th>
      <td colSpan={values.length} class="curve">
        <svg width={WIDE * values.length} height={HIGH}>
          <polyline points={points.join(" ")} />
          {points.map(([x, y]) => <circle cx={x} cy={y} r="3.5" />)}
        </svg>
      </td>
    </tr>,
    <tr class={name}><th scope="row">{name}</th>{Array.from(values, (v) => <td>{tell(v)}</td>)}</tr>,
  ];
}
