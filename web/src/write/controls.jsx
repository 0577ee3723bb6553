// The settings: each a slider, a number, and what its value means.
import { MAX_SEED, SETTINGS, within } from "./settings.js";

export function Controls({ writer, model, shown }) {
  const { settings } = writer;
  const { block_size: size, overflow } = model.minigpt2;
  return (
    <aside id="controls" class={shown ? "controls shown" : "controls"} aria-label="Settings">
      {SETTINGS.map((s) => {
        // Where the server refuses what exceeds the window, nothing longer can be written at once.
        const max = s.name === "length" && overflow === "error" ? size : s.max;
        return (
          <Slider
            key={s.name} setting={{ ...s, max }} value={Math.min(settings[s.name], max)}
            onChange={(value) => writer.set({ [s.name]: value })}
          />
        );
      })}
      <Seed settings={settings} set={(values) => writer.set(values)} />
    </aside>
  );
}

function Slider({ setting, value, onChange }) {
  const { name, label, min, max, step, off, tell } = setting;
  const change = (event) => onChange(within(event.target.value, setting, off ?? value));
  // What is typed counts when it is finished: half a number is another number.
  const shared = { min, max, step, "aria-describedby": `${name}-tells` };
  return (
    <div class="setting">
      <label for={name}>{label}</label>
      <input {...shared} class="number" type="number" aria-label={`${label}, as a number`}
        placeholder="off" value={value === off ? "" : value} onChange={change} />
      <input {...shared} id={name} type="range" value={value} onInput={change}
        aria-valuetext={`${value}, ${tell(value)}`}
        style={{ "--filled": `${(100 * (value - min)) / (max - min)}%` }} />
      <span id={`${name}-tells`} class="small">{tell(value)}</span>
    </div>
  );
}

function Seed({ settings, set }) {
  const bounds = { min: 0, max: MAX_SEED, step: 1 };
  return (
    <div class="setting">
      <label for="seed">Seed</label>
      <input id="seed" class="number wide" type="number" {...bounds} value={settings.seed}
        onChange={(event) => set({ seed: within(event.target.value, bounds, settings.seed) })} />
      <label class="check">
        <input type="checkbox" checked={!settings.lock}
          onChange={(event) => set({ lock: !event.target.checked })} />
        A new seed each time
      </label>
    </div>
  );
}
