// The frame of every view: name, model and checkpoint, tabs, and what to say when there is no model.
import { useEffect, useMemo, useReducer, useRef, useState } from "preact/hooks";
import { models as askModels } from "./api.js";
import { address, addressWith, setAddress } from "./address.js";
import { Checkpoint } from "./checkpoint.jsx";
import { trains, useRuns } from "./look/live.js";
import { TextField, firstText } from "./look/text.jsx";
import { TokenDialog } from "./token.jsx";
import { Tour, TourButton } from "./tour/tour.jsx";
import { VIEWS } from "./views.js";

/** {models, problem, again}: the server's models, waited for while it loads them. */
function useModels() {
  const [state, setState] = useState({ models: null, problem: null });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    let timer = null;
    askModels().then(
      (models) => setState({ models, problem: null }),
      (error) => {
        setState({ models: null, problem: error });
        if (error.status === 503) timer = setTimeout(() => setAttempt((n) => n + 1), 1000 * error.wait);
      },
    );
    return () => clearTimeout(timer);
  }, [attempt]);
  return { ...state, again: () => setAttempt((n) => n + 1) };
}

/** A model as one of the checkpoints kept while it was trained, or as it is. */
function at(model, step) {
  return step === null ? model : { ...model, id: `${model.id}@${step}` };
}

export function Shell() {
  const { models, problem, again } = useModels();
  const [changes, setChanges] = useState(0); // of the address, by hand: a bookmark was pasted
  const [, redraw] = useReducer((n) => n + 1, 0);
  useEffect(() => void addEventListener("hashchange", () => setChanges((n) => n + 1)), []);
  const put = (values) => (setAddress(values), redraw());
  const view = VIEWS.find(({ id }) => id === address().view) ?? VIEWS[0];
  const whole = models?.find(({ id }) => id === address().model) ?? models?.[0];
  const [open, setOpen] = useState(false); // whether the run of the model is still trained
  const onRuns = view.id === "runs";
  const runs = useRuns(onRuns || Boolean(whole?.minigpt2.history.length), onRuns || open);
  const own = runs.data?.runs.find((run) => whole && run.model === whole.id);
  useEffect(() => setOpen(Boolean(own && trains(own))), [own]);
  const history = own?.history ?? whole?.minigpt2.history ?? [];
  const step = history.find((kept) => kept === Number(address().step ?? NaN)) ?? null;
  const model = useMemo(() => whole && at(whole, step), [whole, step]);
  useEffect(() => void (document.title = `${view.title} – minigpt2`), [view]);
  return (
    <>
      <header class="head">
        <h1>minigpt2</h1>
        {model && (
          <ModelChoice models={models} model={whole} choose={(model) => put({ model, step: null })} />
        )}
        {model && <TourButton put={put} />}
        {history.length > 0 && <Checkpoint {...{ history, step }} choose={(step) => put({ step })} />}
        {model && <Facts {...model.minigpt2} />}
        {model && <Tabs view={view} choose={(view) => put({ view })} />}
      </header>
      {model
        ? <View key={changes} {...{ view, model, models, put, training: { step, runs, own } }} />
        : <NoModel {...{ models, problem, again }} />}
      {model && address().tour && (
        <Tour {...{ model, view, put }} renew={() => setChanges((n) => n + 1)} />
      )}
      <TokenDialog />
    </>
  );
}

/** Links, so that a view can be opened beside this one; here they only change what is shown. */
function Tabs({ view, choose }) {
  const chosen = useRef();
  useEffect(() => chosen.current.scrollIntoView({ block: "nearest", inline: "center" }), [view]);
  const click = (event, id) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    choose(id);
  };
  return (
    <nav class="tabs" aria-label="Views">
      {VIEWS.map(({ id, title }) => (
        <a key={id} ref={id === view.id ? chosen : null} href={addressWith({ view: id })}
          aria-current={id === view.id ? "page" : null} onClick={(event) => click(event, id)}>
          {title}
        </a>
      ))}
    </nav>
  );
}

function View({ view: { component: Component, looks, id }, model, models, put, training }) {
  const { text } = address();
  const setText = (text) => put({ text });
  useEffect(() => {
    if (looks && text === undefined) setText(firstText(model.minigpt2)); // Write has kept its draft
  }, [id]);
  if (id === "write") return <Component model={model} models={models} />;
  if (looks && text === undefined) return null;
  return (
    <main class="look">
      {looks && <TextField {...{ text, setText }} />}
      <Component key={id} {...(looks ? { model, text, setText } : { put, ...training })} />
    </main>
  );
}

function ModelChoice({ models, model, choose }) {
  if (models.length === 1) return <span class="name">{model.id}</span>;
  return (
    <select class="name" aria-label="Model" value={model.id} onChange={(e) => choose(e.target.value)}>
      {models.map(({ id }) => <option key={id} value={id}>{id}</option>)}
    </select>
  );
}

const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

function Facts({ parameters, block_size, vocab_size, tokenizer }) {
  return (
    <ul class="facts" aria-label="About the model">
      <li><b>{short.format(parameters)}</b> parameters</li>
      <li><b>{block_size.toLocaleString("en")}</b>-token window</li>
      <li><b>{vocab_size.toLocaleString("en")}</b> tokens, {tokenizer}</li>
    </ul>
  );
}

function NoModel({ models, problem, again }) {
  const waiting = problem?.status === 503 ? "The model is being loaded …" : "Asking the server …";
  if (problem ? problem.status === 503 : !models) return <p class="message" role="status">{waiting}</p>;
  return (
    <div class="message" role="alert">
      <p>{problem ? problem.message : "This server has no model to write with."}</p>
      {!problem && <p>Start it with one: <code>minigpt2 serve runs/NAME</code></p>}
      <button onClick={again}>Try again</button>
    </div>
  );
}
