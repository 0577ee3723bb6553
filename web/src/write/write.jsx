// The view in which a text is written: paper, actions, settings. What happens is the Writer's.
import { useEffect, useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";
import { address, setAddress } from "../address.js";
import { Controls } from "./controls.jsx";
import { keepDraft, keptDraft } from "./draft.js";
import { blank, promptEnd } from "./manuscript.js";
import { Paper } from "./paper.jsx";
import { PROMPT_IN_ADDRESS, addressOf, settingsFrom } from "./settings.js";
import { Writer } from "./writer.js";
import "./write.css";

const promptOf = (manuscript) => manuscript.text.slice(0, promptEnd(manuscript));
const inAddress = (prompt) => (prompt.length <= PROMPT_IN_ADDRESS ? prompt : "");

/** What the tab kept, if the address means the same text; else the address's prompt. */
function firstManuscript() {
  const prompt = address().prompt ?? "";
  const draft = keptDraft();
  return draft && inAddress(promptOf(draft)) === prompt ? draft : { ...blank, text: prompt };
}

/** The Writer, drawn anew at most once a frame, and kept in the address and the tab. */
function useWriter(model) {
  const [, redraw] = useReducer((n) => n + 1, 0);
  const frame = useRef(0);
  const ref = useRef(null);
  ref.current ??= new Writer({
    manuscript: firstManuscript(),
    settings: settingsFrom(address()),
    model,
    changed: () => (frame.current ||= requestAnimationFrame(() => redraw((frame.current = 0)))),
  });
  const writer = ref.current;
  const prompt = inAddress(promptOf(writer.manuscript)) || null;
  useEffect(() => setAddress({ ...addressOf(writer.settings), prompt }), [writer.settings, prompt]);
  useEffect(() => {
    const keep = () => keepDraft(writer.manuscript);
    addEventListener("pagehide", keep);
    return () => {
      removeEventListener("pagehide", keep);
      writer.stop();
      keep();
    };
  }, []);
  useEffect(() => writer.setModel(model), [model]);
  return writer;
}

/** Ctrl or Cmd with Enter writes, Esc stops, wherever the focus is. */
function useKeys(writer) {
  useLayoutEffect(() => {
    const press = (event) => {
      if (document.querySelector("dialog[open]") || event.isComposing) return;
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) writer.write();
      else if (event.key === "Escape" && writer.running) writer.stop();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}

export function Write({ model }) {
  const writer = useWriter(model);
  const [shown, setShown] = useState(false);
  useKeys(writer);
  return (
    <main class="studio">
      <section class="sheet" aria-label="Text">
        <Paper manuscript={writer.manuscript} running={writer.running} onType={(t) => writer.type(t)} />
        {writer.notice && <Notice {...writer.notice} />}
        <Gauge share={Math.min(1, writer.used / model.minigpt2.block_size)} />
        <Actions writer={writer} shown={shown} toggle={() => setShown(!shown)} />
      </section>
      <Controls writer={writer} model={model} shown={shown} />
    </main>
  );
}

function Notice({ text, label, act }) {
  return (
    <div class="notice" role="alert">
      <span>{text}</span>
      {act && <button onClick={act}>{label}</button>}
    </div>
  );
}

/** How much of the model's window is taken. */
const Gauge = ({ share }) => (
  <div class="gauge" aria-hidden="true"><i style={{ transform: `scaleX(${share})` }} /></div>
);

function Actions({ writer, shown, toggle }) {
  const [copied, setCopied] = useState(false);
  const { running, canContinue, past, manuscript } = writer;
  const copy = async () => {
    setCopied(await copyText(manuscript.text));
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <div class="actions">
      <div class="row">
        {/* One element, so that the focus stays where it is. */}
        <button class="primary" title={running ? "Esc" : "Ctrl or Cmd with Enter"}
          onClick={() => (running ? writer.stop() : writer.write())}>
          {running ? "Stop" : canContinue ? "Continue" : "Write"}
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

// The clipboard's own interface is there on localhost and https only.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    document.querySelector(".paper textarea").select();
    return document.execCommand("copy");
  }
}

const FINISHES = {
  length: "the length is reached", stop: "the model ended the text", stopped: "stopped",
  window: "the window is full", error: "broken off",
};

const Hint = () => <span class="hint">Ctrl + Enter writes, Esc stops</span>;

function Status({ writer }) {
  const { run, running, finish, speed, used, model } = writer;
  const count = run?.written ?? 0;
  const size = model.minigpt2.block_size;
  const end = FINISHES[finish] ?? finish; // a server may have reasons of its own
  const said = running ? "Writing" : finish ? `${count} tokens written: ${end}` : "";
  return (
    <div class="status">
      <span class="hidden" role="status" aria-live="polite">{said}</span>
      <span class="spent">
        {run ? <span><b class="written">{count.toLocaleString("en")}</b> written</span> : <Hint />}
        {run && speed && <span class="speed"><b>{Math.round(speed).toLocaleString("en")}</b> tokens/s</span>}
        {finish && <span class="finish">{end}</span>}
      </span>
      {used !== null && (
        <span class={used > size ? "over" : ""} title="Tokens of the text, and of the model’s window">
          <b>{used.toLocaleString("en")}</b> of {size.toLocaleString("en")} tokens
        </span>
      )}
    </div>
  );
}
