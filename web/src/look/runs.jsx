// The training runs of the server: their curves, what they wrote, and the way to their checkpoints.
import { useState } from "preact/hooks";
import { address } from "../address.js";
import { Chart } from "./chart.jsx";
import { Choice, Frame } from "./frame.jsx";
import { useCurves } from "./live.js";
import { useScheme } from "./scale.jsx";

const FIRST = 6; // runs that are drawn before anyone chose
const MEASURES = {
  loss: "Loss", learning_rate: "Learning rate", tokens_per_second: "Tokens a second", grad_norm: "Gradient norm",
};
const LOSSES = { val_loss: "Validation", train_loss: "Training" };
const LOOKS = { val_loss: { points: { show: true } }, train_loss: { width: 1, alpha: 0.5, points: { show: false } } };
const tell = (number) => number?.toLocaleString("en", { maximumSignificantDigits: 5 }) ?? "–";
const read = ({ x, y } = { x: [], y: [] }, at) => y[x.findLastIndex((step) => step <= at)];
const count = (n) => n.toLocaleString("en");
const known = []; // names: a run keeps its colour as long as the page is open

/** Hues by the golden angle, from the accent's on: any few that follow each other are far apart. */
function colourOf(name, dark) {
  if (!known.includes(name)) known.push(name);
  return `oklch(${dark ? 80 : 50}% 0.13 ${(265 + 137.5 * known.indexOf(name)) % 360})`;
}

export function Runs({ put, step, runs: look, own }) {
  const dark = useScheme();
  const [pointed, setPointed] = useState(); // the step under the pointer
  const { run: name, shown: wish, measure: wanted } = address();
  const runs = look.data?.runs ?? [];
  const chosen = runs.find((run) => run.name === name) ?? own ?? runs[0];
  const names = runs.map((run) => run.name);
  const shown = names.filter((n, i) => (wish === undefined ? i < FIRST : wish.split("/").includes(n)));
  const told = useCurves(runs, chosen ? [chosen.name, ...shown] : []);
  const measure = Object.hasOwn(MEASURES, wanted) ? wanted : "loss";
  const columns = measure === "loss" ? LOSSES : { [measure]: MEASURES[measure] };
  const curves = shown.flatMap((n) => Object.keys(columns).map((of) =>
    ({ ...told.get(n)?.curves[of], name: n, of, look: { stroke: colourOf(n, dark), ...LOOKS[of] } })),
  ).filter(({ x }) => x);
  const looked = chosen === own ? step : null;
  const at = pointed ?? looked ?? Infinity;
  const show = (n) => // no name of a folder has a slash
    put({ shown: names.filter((other) => shown.includes(other) !== (other === n)).join("/") });
  const choose = ({ name, model }) => // one that is served is the model that all views look into
    put(model === null ? { run: name } : { run: null, model, step: null });
  return (
    <Frame name="runs" look={look.data ? { ...look, data: { runs, curves } } : look}
      controls={chosen &&
        <Choice label="Curves" options={MEASURES} value={measure} choose={(measure) => put({ measure })} />}
      below={chosen && <>
        <List {...{ runs, chosen, shown, show, choose, columns, told, at, dark }} />
        <One {...chosen} samples={told.get(chosen.name)?.samples} at={at} />
      </>}>
      {curves.length > 0 && (
        <Chart curves={curves} measure={MEASURES[measure]} onRead={setPointed}
          kept={chosen.model === null ? [] : chosen.history} chosen={looked} />)}
      {!chosen && <p>The model that is served was not trained here. <code>minigpt2 train</code> trains one,
        and <code>minigpt2 serve</code> then shows its curves here, while it trains and after.</p>}
    </Frame>
  );
}

const List = ({ runs, chosen, shown, show, choose, columns, told, at, dark }) => (
  <div class="scrolled">
    <table class="list">
      <caption>{at === Infinity ? "The last of each run" : `At step ${count(at)}`}</caption>
      <thead><tr>{["Run", ...Object.values(columns), "Best validation", "Steps"].map((title) =>
        <th key={title}>{title}</th>)}</tr></thead>
      <tbody aria-live="polite">{runs.map((run) => (
        <tr key={run.name} aria-current={run === chosen}>
          <td>
            <input type="checkbox" checked={shown.includes(run.name)} aria-label={`Draw ${run.name}`}
              onChange={() => show(run.name)} style={{ accentColor: colourOf(run.name, dark) }} />
            <button onClick={() => choose(run)}><bdi>{run.name}</bdi></button>
          </td>
          {Object.keys(columns).map((of) => <td key={of}>{tell(read(told.get(run.name)?.curves[of], at))}</td>)}
          <td>{tell(run.val_loss)}</td>
          <td>{count(run.step)}{run.steps && ` of ${count(run.steps)}`}</td>
        </tr>))}
      </tbody>
    </table>
  </div>
);

function One({ name, model, history, samples = [], at }) {
  const sample = samples.findLast(({ step }) => step <= at);
  return (
    <section class="one">
      <h3><bdi>{name}</bdi></h3>
      {model === null
        ? <p>This run is not served: <code>minigpt2 serve runs/NAME</code> opens it.</p>
        : <p>Every view looks into this run. Checkpoints kept on the way: {history.length}.</p>}
      {model !== null && !history.length && <p class="small">No checkpoint was kept on the way:
        with <code>minigpt2 train --logging.keep-history 2</code> some are.</p>}
      {sample && <p class="small">Sample of step {count(sample.step)}</p>}
      {sample && <pre>{sample.text}</pre>}
    </section>
  );
}
