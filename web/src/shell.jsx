// The frame of every view: name, model and checkpoint, tabs, and what to say when there is no model.
import { useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "preact/hooks";
import { models as askModels, page } from "./api.js";
import { address, addressWith, setAddress } from "./address.js";
import { Checkpoint } from "./checkpoint.jsx";
import { useAnswer } from "./look/inspect.js";
import { trains, useRuns } from "./look/live.js";
import { Text, TextField, firstText } from "./look/text.jsx";
import { Notice } from "./notice.jsx";
import { TokenDialog } from "./token.jsx";
import { Tour, TourButton } from "./tour/tour.jsx";
import { VIEWS } from "./views.js";

/** A model as one of the checkpoints kept while it was trained, or as it is. */
const at = (model, step) => (step === null ? model : { ...model, id: `${model.id}@${step}` });

export function Shell() {
  const { data: models, problem, again } = useAnswer("models", askModels);
  const [loading, setLoading] = useState(false); // a model, which a request waits for
  const [changes, setChanges] = useState(0); // of the address: a tab, a bookmark, the way back
  const [, redraw] = useReducer((n) => n + 1, 0);
  useEffect(() => void addEventListener("hashchange", () => setChanges((n) => n + 1)), []);
  useEffect(() => void (page.tellLoading = setLoading), []);
  const put = (values) => (setAddress(values), redraw());
  const view = VIEWS.find(({ id }) => id === address().view) ?? VIEWS[0];
  const named = models?.find(({ id }) => id === address().model);
  const whole = named ?? models?.[0];
  const [open, setOpen] = useState(false); // whether the run of the model is still trained
  const onRuns = view.id === "runs";
  const runs = useRuns(onRuns || Boolean(whole?.minigpt2.history.length), onRuns || open);
  const own = runs.data?.runs.find((run) => whole && run.model === whole.id);
  useEffect(() => setOpen(Boolean(own && trains(own))), [own]);
  const history = own?.history ?? whole?.minigpt2.history ?? [];
  const step = history.find((kept) => kept === Number(address().step ?? NaN)) ?? null;
  const model = useMemo(() => whole && at(whole, step), [whole, step]);
  const { model: asked, step: askedStep } = address();
  const absent = asked && !named ? `model “${asked}”` : askedStep && step === null && `checkpoint of step ${askedStep}`;
  useLayoutEffect(() => void (document.title = `${view.title} – minigpt2`), [view]);
  return (
    <>
      <header class="head">
        <h1>minigpt2</h1>
        {model && <ModelChoice {...{ models }} model={whole} choose={(model) => put({ model, step: null })} />}
        {model && <TourButton put={put} />}
        {history.length > 0 && <Checkpoint {...{ history, step }} choose={(step) => put({ step })} />}
        {model && <Facts {...model.minigpt2} />}
        {model && loading && <p role="status">The model is being loaded; this goes on by itself.</p>}
      </header>
      {model && absent && <Notice text={`There is no ${absent} here; this is ${model.id}.`} label="All right"
        act={() => put({ model: named?.id, step: null })} />}
      {model && <Tabs view={view} />}
      {model
        ? <View key={changes} {...{ view, model, models, put, training: { step, runs, own } }} />
        : <NoModel {...{ models, problem, again, loading }} />}
      {model && address().tour && <Tour {...{ model, view, put }} />}
      <TokenDialog />
    </>
  );
}

/** Links, so that a view can be opened beside this one; each to the state as it is when followed. */
function Tabs({ view }) {
  const chosen = useRef();
  useEffect(() => chosen.current.scrollIntoView({ block: "nearest", inline: "center" }), [view]);
  return (
    <nav class="tabs" aria-label="Views">
      {VIEWS.map(({ id, title }) => (
        <a key={id} ref={id === view.id ? chosen : null} href={addressWith({ view: id })}
          aria-current={id === view.id ? "page" : null}
          onClick={({ currentTarget: link }) => (link.href = addressWith({ view: id }))}>
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
    if (looks && text === undefined) firstText(model).then(setText); // Write has kept its draft
  }, [id]);
  if (id === "write") return <Component model={model} models={models} />;
  if (looks && text === undefined) return null;
  return (
    <main key={id} class="look">
      {looks && <TextField {...{ text, setText }} />}
      <Text.Provider value={{ model, text, setText }}>
        <Component {...(looks ? { model, text, setText } : { put, ...training })} />
      </Text.Provider>
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

const Facts = ({ parameters, block_size, vocab_size, tokenizer }) => (
  <ul class="facts" aria-label="About the model">
    <li><b>{short.format(parameters)}</b> parameters</li>
    <li><b>{block_size.toLocaleString("en")}</b>-token window</li>
    <li><b>{vocab_size.toLocaleString("en")}</b> tokens, {tokenizer}</li>
  </ul>
);

function NoModel({ models, problem, again, loading }) {
  const waiting = loading ? "The model is being loaded …" : "Asking the server …";
  if (!problem && !models) return <p class="message" role="status">{waiting}</p>;
  return (
    <div class="message" role="alert">
      <p>{problem ? problem.message : "This server has no model to write with."}</p>
      {!problem && <p>Start it with one: <code>minigpt2 serve runs/NAME</code></p>}
      <button onClick={again}>Try again</button>
    </div>
  );
}
