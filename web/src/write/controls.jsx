// The settings: each a slider, a number, and what its value means.
import { useState } from "preact/hooks";
import { SEED, SETTINGS, tell, within } from "./settings.js";
import { longest } from "./window.js";

export function Controls({ writer, model, shown, children }) {
  const { settings } = writer;
  return (
    <aside id="controls" class={shown ? "controls shown" : "controls"} aria-label="Settings">
      {children}
      {SETTINGS.map((s) => {
        const max = s.name === "length" ? Math.min(s.max, longest(model)) : s.max;
        const shared = { setting: { ...s, max }, value: Math.min(settings[s.name], max) };
        return <Slider key={s.name} {...shared} onChange={(value) => writer.set({ [s.name]: value })} />;
      })}
      <Seed settings={settings} set={(values) => writer.set(values)} />
    </aside>
  );
}

/** A number to type: what is typed stands, and counts only when it is finished. */
function NumberField({ value, onChange, ...rest }) {
  const [typed, setTyped] = useState(null);
  const finish = (event) => {
    setTyped(null);
    onChange(event.target.value);
  };
  return (
    <input {...rest} type="number" class="number" value={typed ?? value} onChange={finish}
      onInput={(event) => setTyped(event.target.value)} onBlur={() => setTyped(null)} />
  );
}

export function Slider({ setting, value, onChange }) {
  const { name, label, min, max, step, off } = setting;
  const told = tell(setting, value);
  const change = (text) => onChange(within(text, setting, off ?? value));
  const shared = { min, max, step, "aria-describedby": `${name}-tells` };
  return (
    <div class="setting">
      <label for={name}>{label}</label>
      <NumberField {...shared} aria-label={`${label}, as a number`} placeholder="off"
        value={value === off ? "" : value} onChange={change} />
      <input {...shared} id={name} type="range" value={value}
        onInput={(event) => change(event.target.value)} aria-valuetext={`${value}, ${told}`} />
      <span id={`${name}-tells`} class="small">{told}</span>
    </div>
  );
}

const Seed = ({ settings, set }) => (
  <div class="setting">
    <label for="seed">Seed</label>
    <NumberField id="seed" min={SEED.min} max={SEED.max} step={SEED.step} value={settings.seed}
      onChange={(text) => set({ seed: within(text, SEED, settings.seed) })} />
    <label class="check">
      <input type="checkbox" checked={!settings.lock} onChange={(e) => set({ lock: !e.target.checked })} />
      A new seed each time
    </label>
  </div>
);
