// The training runs of the server: their curves, what they wrote, and the way to their checkpoints.
import { useRef } from "preact/hooks";
import { address, addressWith } from "../address.js";
import { Chart } from "./chart.jsx";
import { Frame } from "./frame.jsx";
import { trains, useCurves } from "./live.js";
import { useScheme } from "./scale.jsx";
import "./runs.css";

const FIRST = 6; // runs that are drawn before anyone chose
const NOW = 15; // s
const MEASURES = { // with their curves in the log
  loss: ["Loss", "val_loss", "train_loss"], learning_rate: ["Learning rate", "learning_rate"],
  tokens_per_second: ["Tokens a second", "tokens_per_second"],
  grad_norm: ["Gradient norm", "grad_norm"],
};
const SAID = { train_loss: "training", val_loss: "validation" };
const count = (n) => n.toLocaleString("en");

function ago(seconds) {
  if (seconds < NOW) return "writing now";
  const minutes = Math.ceil(seconds / 60);
  const [n, unit] = minutes < 60 ? [minutes, "min"] : minutes < 1440 ? [minutes / 60, "h"] : [minutes / 1440, "d"];
  return `${Math.floor(n)} ${unit} ago`;
}

export function Runs({ put, step, runs: look, links }) {
  const runs = look.data?.runs ?? [];
  const { run: name, shown: wish, measure: wanted, axis } = address();
  const chosen = runs.find((run) => run.name === name) ?? runs.find(({ model }) => model) ?? runs[0];
  const names = runs.map((run) => run.name);
  const shown = names.filter((n, i) => (wish === undefined ? i < FIRST : wish.split("/").includes(n)));
  const told = useCurves(runs, chosen ? [chosen.name, ...shown] : []);
  const slots = useRef(new Map()).current; // a run keeps its colour as long as the page is open
  names.forEach((n) => slots.has(n) || slots.set(n, slots.size));
  const dark = useScheme();
  // Hues by the golden angle, from the accent's on: any few that follow each other are far apart.
  const hue = (n) => `oklch(${dark ? 80 : 50}% 0.13 ${(265 + 137.5 * slots.get(n)) % 360})`;
  const measure = Object.keys(MEASURES).find((id) => id === wanted) ?? "loss";
  const [title, ...logged] = MEASURES[measure];
  const curves = shown.flatMap((n) => logged.map((of) => ({
    ...told.get(n)?.curves[of], name: n, said: SAID[of], stroke: hue(n),
    faint: of === "train_loss", marked: of === "val_loss",
  }))).filter(({ x }) => x);
  const show = (n) => // no name of a folder has a slash
    put({ shown: names.filter((other) => shown.includes(other) !== (other === n)).join("/") });
  const log = axis === "log";
  const data = { runs, curves: Object.fromEntries(shown.map((n) => [n, told.get(n)?.curves])) };
  const controls = chosen && [
    ...Object.entries(MEASURES).map(([id, [text]]) => (
      <button key={id} aria-pressed={id === measure} onClick={() => put({ measure: id })}>{text}</button>)),
    <button key="log" class="end" aria-pressed={log}
      onClick={() => put({ axis: log ? null : "log" })}>Logarithmic steps</button>,
  ];
  return (
    <Frame name="runs" title="Runs" look={look.data ? { ...look, data } : look} controls={controls}
      question="How did training go, and how does it go right now?"
      legend={<p>Loss: mean negative log-likelihood in nats per token; lower is better. Points: the
        whole validation split. Faint: the batch of each step. Marks below: the checkpoints kept on
        the way; click one, or use the slider above. Drag over the curves to see a part, double-click
        for all.</p>}>
      {!chosen ? <None /> : curves.length > 0
        ? <Chart {...{ curves, dark, log }} label={`${title} over steps`} chosen={step}
            kept={chosen.model ? chosen.history : []}
            onPick={(at) => put({ model: chosen.model, step: at })} />
        : <p class="small">Nothing of this is in the logs of the runs that are shown.</p>}
      {chosen && (
        <div class="beside">
          <List {...{ runs, chosen, shown, show, hue }} choose={(n) => put({ run: n, sample: null })} />
          <One run={chosen} samples={told.get(chosen.name)?.samples} {...{ step, links, put }} />
        </div>)}
    </Frame>
  );
}

const List = ({ runs, chosen, shown, show, choose, hue }) => (
  <table class="list">
    <thead><tr><th>Run</th><th>Step</th><th>Best validation loss</th><th>Log</th></tr></thead>
    <tbody>{runs.map((run) => (
      <tr key={run.name} aria-current={run === chosen}>
        <td>
          <input type="checkbox" checked={shown.includes(run.name)} aria-label={`Draw ${run.name}`}
            onChange={() => show(run.name)} style={{ accentColor: hue(run.name) }} />
          <button onClick={() => choose(run.name)}><bdi>{run.name}</bdi></button>
        </td>
        <td>
          {count(run.step)}{run.steps && ` of ${count(run.steps)}`}
          {trains(run) && run.steps && <progress max={run.steps} value={run.step} aria-label="Progress" />}
        </td>
        <td>{run.val_loss?.toFixed(4) ?? "–"}</td>
        <td>{ago(run.updated)}</td>
      </tr>))}
    </tbody>
  </table>
);

/** A name as a shell takes it, whatever is in it. */
const quoted = (name) => (/^\w[\w.+=@%-]*$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`);

function One({ run: { name, model, history }, step, links, samples = [], put }) {
  const last = samples.length - 1;
  const i = samples.findIndex(({ step }, at) => at === last || step === Number(address().sample));
  const now = history.includes(step) ? step : null;
  return (
    <section class="one">
      <h3><bdi>{name}</bdi></h3>
      {model === null
        ? <p>This run is not served: <code>minigpt2 serve runs/{quoted(name)}</code> opens it.</p>
        : <p>{now === null ? "Look inside the model as served: " : `Look inside at step ${count(now)}: `}
            {links.map(({ id, title }) =>
              <a key={id} href={addressWith({ view: id, model, step: now })}>{title}</a>)}</p>}
      {model !== null && !history.length && <p class="small">No checkpoint was kept on the way:
        with <code>minigpt2 train --logging.keep-history 2</code> some are.</p>}
      {last >= 0 && (
        <div class="sample">
          <label for="sample">Sample of step</label>
          <input id="sample" type="range" min={0} max={last} value={i} aria-valuetext={`step ${samples[i].step}`}
            onInput={({ target }) => put({ run: name, sample: samples[target.value].step })} />
          <output for="sample">{count(samples[i].step)}</output>
          <pre>{samples[i].text}</pre>
        </div>)}
    </section>
  );
}

const None = () => (
  <div class="one">
    <p>Here are the curves of training runs, while they train and after, with samples and the
      checkpoints kept on the way. The model that is served has none: it was not trained here.</p>
    <p>To train one: <code>minigpt2 train</code>. To see it: <code>minigpt2 serve</code></p>
  </div>
);
