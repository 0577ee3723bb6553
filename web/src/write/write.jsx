// The view in which a text is written: paper, actions, settings. What happens is the Writer's.
import { useEffect, useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";
import { address, setAddress } from "../address.js";
import { keep, kept } from "../kept.js";
import { Head } from "../look/frame.jsx";
import WORDS from "../look/words.json";
import { Notice } from "../notice.jsx";
import { canPaint } from "./colours.js";
import { Controls } from "./controls.jsx";
import { DRAFT, blank, pieces, promptOf } from "./manuscript.js";
import { Paper } from "./paper.jsx";
import { BITS, LEVELS, alternatives } from "./surprise.js";
import { PROMPT_IN_ADDRESS, addressOf, settingsFrom } from "./settings.js";
import { Writer } from "./writer.js";
import "./write.css";

const inAddress = (prompt) => (prompt.length <= PROMPT_IN_ADDRESS ? prompt : "");

/** What the tab kept, if the address means the same text; else the address's prompt. */
function firstManuscript() {
  const prompt = address().prompt ?? "";
  const draft = kept(DRAFT);
  return draft && inAddress(promptOf(draft).text) === prompt ? draft : { ...blank, text: prompt };
}

/** The Writer, drawn anew at most once a frame, and kept in the address and the tab. */
function useWriter(model, rival) {
  const [, redraw] = useReducer((n) => n + 1, 0);
  const frame = useRef(0);
  const [first] = useState(firstManuscript);
  const [writer] = useState(() => new Writer({
    manuscript: first, settings: settingsFrom(address()), model,
    changed: () => (frame.current ||= requestAnimationFrame(() => redraw((frame.current = 0)))),
  }));
  const prompt = inAddress(promptOf(writer.manuscript).text) || null;
  useEffect(() => setAddress({ ...addressOf(writer.settings), prompt }), [writer.settings, prompt]);
  useEffect(() => {
    keep(DRAFT, writer.manuscript);
    if (writer.manuscript.text !== first.text) setAddress({ text: null }); // the views look at this now
  }, [writer.manuscript]);
  useEffect(() => () => writer.stop(), []);
  useEffect(() => writer.setModel(model), [model]);
  useEffect(() => writer.compare(rival ?? null), [rival?.id]);
  return writer;
}

/** Ctrl or Cmd with Enter writes, Esc stops, wherever the focus is. */
function useKeys(writer) {
  useLayoutEffect(() => {
    const press = (event) => {
      if (document.querySelector("dialog[open]") || event.isComposing) return;
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) writer.write();
      else if (event.key === "Escape" && writer.busy) writer.stop();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}

/** What a model can be compared with: the other ones, and all as they were while being trained. */
function rivalsOf(model, models) {
  const steps = (one) => (one.minigpt2.history ?? []).map((step) => ({ ...one, id: `${one.id}@${step}` }));
  return [...models, ...models.flatMap(steps)].filter(({ id }) => id !== model.id);
}

/** What is taken away: the text, who wrote which part of it, and what has been measured. */
const numbersOf = ({ model, settings, manuscript, spans, other }) => ({
  model: model.id, settings, text: manuscript.text,
  parts: pieces(manuscript).map(({ text, model, unseen }) => ({ text, by: model ? "model" : "reader", unseen })),
  tokens: spans.map((span) => ({
    text: manuscript.text.slice(span.from, span.to), bits: span.bits, alternatives: alternatives(span),
  })),
  ...(other && { other: numbersOf(other) }),
});

export function Write({ model, models }) {
  const rivals = rivalsOf(model, models);
  const [shown, setShown] = useState(false);
  const [pictured, setPictured] = useState(false);
  const box = useRef();
  const rival = rivals.find(({ id }) => id === address().compare);
  const writer = useWriter(model, rival);
  const { other } = writer;
  useKeys(writer);
  return (
    <main class="studio" ref={box} aria-labelledby="write-title">
      <Head name="write" box={box} numbers={() => numbersOf(writer)} picturing={setPictured}>
        <Legend {...writer.manuscript} {...writer.settings} />
      </Head>
      <section class="sheet" aria-label="Text">
        <div class="papers">
          <Paper key="own" {...{ writer, pictured }} onType={(t) => writer.type(t)} label={other && model.id} />
          {other && <Paper key={other.model.id} writer={other} pictured={pictured} label={other.model.id} />}
        </div>
        {writer.notice && <Notice {...writer.notice} />}
        {other?.notice && <Notice {...other.notice} text={`${other.model.id}: ${other.notice.text}`} />}
        <Actions writer={writer} shown={shown} toggle={() => setShown(!shown)} />
      </section>
      <Controls writer={writer} model={model} shown={shown}>
        <Look writer={writer} rivals={rivals} rival={rival} />
      </Controls>
    </main>
  );
}

/** Whose ink is which, and what the colours behind it mean. */
const Legend = ({ sight, surprise }) => (
  <p class="inks small">
    <span>Ink: <b>yours</b>, <b class="model">the model’s</b>{sight > 0 && ", out of its sight"}</span>
    {surprise && (
      <span class="surprises">
        <b>Surprise</b> 0{" "}
        {Array.from({ length: LEVELS + 1 }, (_, level) => <i key={level} class={`level-${level}`} />)}
        {" "}{BITS * LEVELS}+ bits
      </span>
    )}
  </p>
);

/** How the text is looked at: coloured, beside another model's. */
function Look({ writer, rivals, rival }) {
  const { surprise } = writer.settings;
  const set = (event) => writer.set({ surprise: event.target.checked });
  const compare = (event) => (setAddress({ compare: event.target.value || null }), writer.changed());
  return (
    <div class="setting">
      <label class="check">
        <input type="checkbox" disabled={!canPaint} checked={surprise} onChange={set} />
        <b>Surprise</b> {!canPaint && "needs a newer browser"}
      </label>
      {surprise && <p class="small">Point at a token, or press Alt + ↓, for its alternatives.</p>}
      {rivals.length > 0 && (
        <label class="rivals">
          <b>Compare with</b>
          <select value={rival?.id ?? ""} onChange={compare}>
            <option value="">nothing</option>
            {rivals.map(({ id }) => <option key={id} value={id}>{id}</option>)}
          </select>
        </label>
      )}
    </div>
  );
}

function Actions({ writer, shown, toggle }) {
  const [copied, setCopied] = useState(false);
  const { busy, canContinue, past, manuscript, used, model } = writer;
  const copy = ({ currentTarget: button }) => {
    document.querySelector(".paper textarea").select();
    setCopied(document.execCommand("copy")); // navigator.clipboard is there on localhost and https only
    button.focus();
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <div class="actions spread" style={{ "--used": `${(100 * used) / model.minigpt2.block_size}%` }}>
      <div class="row">
        {/* One element, so that the focus stays where it is. */}
        <button class="primary" title={busy ? "Esc" : "Ctrl or Cmd with Enter"}
          onClick={() => (busy ? writer.stop() : writer.write())}>
          {busy ? "Stop" : canContinue ? "Continue" : "Write"}
        </button>
        <button disabled={!canContinue} onClick={() => writer.regenerate()}>Regenerate</button>
        <button disabled={!past.length} onClick={() => writer.undo()}>Undo</button>
        <button disabled={!manuscript.text} onClick={copy}>{copied ? "Copied" : "Copy"}</button>
      </div>
      <Status writer={writer} />
      <button class="narrow" aria-expanded={shown} aria-controls="controls" onClick={toggle}>Settings</button>
    </div>
  );
}

function Status({ writer: { run, running, speed, used, model } }) {
  const size = model.minigpt2.block_size;
  const finish = running ? "writing" : WORDS.write.finishes[run?.finish] ?? run?.finish; // or a server's own reason
  return (
    <div class="status spread">
      {!run && <span class="hint">Ctrl + Enter writes, Esc stops</span>}
      {run && <span><b class="written">{run.written.toLocaleString("en")}</b> written</span>}
      {speed && <span><b>{Math.round(speed).toLocaleString("en")}</b> tokens/s</span>}
      <span class="finish" role="status">{finish}</span>
      {used !== null && (
        <span class={used > size ? "over" : ""} title="Tokens of the text, and of the model’s window">
          <b>{used.toLocaleString("en")}</b> of {size.toLocaleString("en")} tokens
        </span>
      )}
    </div>
  );
}
