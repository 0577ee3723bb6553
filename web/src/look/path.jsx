// The way of one token through the layers: its rank and its probability after each of them.
import { short } from "./colours.js";
import { layerName } from "./lens.jsx";
import { named } from "./visible.js";

const [WIDE, HIGH, EDGE] = [76, 96, 8]; // px: a layer, a curve, and what lies around it

/** `data` is the API's answer, `position` what it was asked for. */
export function Path({ data, position, vocabulary, stale, close }) {
  const { token, ranks: { values: ranks }, probabilities: { values: probabilities } } = data.path;
  const rows = ranks.length;
  const depth = (rank) => Math.log(rank) / Math.log(vocabulary); // 0 for the first, 1 for the last
  return (
    <section class={stale ? "path stale" : "path"} aria-labelledby="path">
      <h3 id="path">{named(token.text)} after {named(data.tokens.texts[position])} at {position}</h3>
      <button onClick={close}>Close</button>
      <div class="scrolled">
        <table>
          <thead>
            <tr><td />{[...ranks].map((_, row) => <th key={row} scope="col">{layerName(row, rows)}</th>)}</tr>
          </thead>
          <tbody>
            <Curve name="rank" values={ranks} tell={(rank) => rank.toLocaleString("en")} down={depth}
              ends={["1", vocabulary.toLocaleString("en")]} />
            <Curve name="probability" values={probabilities} tell={short} down={(p) => 1 - p} ends={["1", "0"]} />
          </tbody>
        </table>
      </div>
      <p class="small">Rank 1 is the likeliest of {vocabulary.toLocaleString("en")} tokens; its scale is logarithmic.</p>
    </section>
  );
}

/** Two rows: the values, and a line through them; `down` is how far from the top, from 0 to 1. */
function Curve({ name, values, tell, down, ends }) {
  const points = Array.from(values, (value, i) => [WIDE * (i + 0.5), EDGE + down(value) * (HIGH - 2 * EDGE)]);
  return (
    <>
      <tr>
        <th scope="row" class="ends" aria-hidden="true"><span>{ends[0]}</span><span>{ends[1]}</span></th>
        <td colSpan={values.length} class="curve">
          <svg width={WIDE * values.length} height={HIGH} aria-hidden="true">
            <polyline points={points.join(" ")} />
            {points.map(([x, y], i) => <circle key={i} cx={x} cy={y} r="3.5" />)}
          </svg>
        </td>
      </tr>
      <tr class={name}>
        <th scope="row">{name}</th>
        {Array.from(values, (value, i) => <td key={i}>{tell(value)}</td>)}
      </tr>
    </>
  );
}
