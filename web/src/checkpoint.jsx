// Which of the checkpoints that were kept while a model was trained is looked at; it plays, too.
import { useEffect, useState } from "preact/hooks";
import { asking } from "./look/inspect.js";

const BEAT = 500; // ms

/** `step` is one of `history`, or null for the model as the server opened it. */
export function Checkpoint({ history, step, choose }) {
  const [playing, setPlaying] = useState(false);
  const last = history.length;
  const at = step === null ? last : history.indexOf(step);
  const go = (i) => choose(history[i] ?? null);
  useEffect(() => {
    if (!playing) return;
    const timer = setInterval(() => {
      if (asking()) return; // nothing is passed over unseen
      if (at < last) go(at + 1);
      else setPlaying(false);
    }, BEAT);
    return () => clearInterval(timer);
  }, [playing, at, last]);
  const toggle = () => {
    if (!playing && at === last) go(0);
    setPlaying(!playing);
  };
  const told = step === null ? "as served" : `step ${step.toLocaleString("en")}`;
  return (
    <div class="checkpoint">
      <button aria-label={playing ? "Pause" : "Play through training"} onClick={toggle}>
        <i class={playing ? "pause" : "play"} />
      </button>
      <label for="checkpoint">Checkpoint</label>
      <input id="checkpoint" type="range" min={0} max={last} step={1} value={at}
        aria-valuetext={step === null ? told : `${told} of training`}
        onInput={({ target }) => (setPlaying(false), go(Number(target.value)))} />
      <output for="checkpoint">{told}</output>
    </div>
  );
}
