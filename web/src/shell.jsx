// The frame of every view: name, model, and what to say when there is none. A second view brings
// tabs, here.
import { useEffect, useState } from "preact/hooks";
import { models as askModels } from "./api.js";
import { address, setAddress } from "./address.js";
import { TokenDialog } from "./token.jsx";
import { Write } from "./write/write.jsx";
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

export function Shell() {
  const { models, problem, again } = useModels();
  const [changes, setChanges] = useState(0); // of the address, by hand: a bookmark was pasted
  const [, redraw] = useState(0);
  useEffect(() => void addEventListener("hashchange", () => setChanges((n) => n + 1)), []);
  const model = models?.find(({ id }) => id === address().model) ?? models?.[0];
  const choose = (model) => (setAddress({ model }), redraw(model));
  return (
    <>
      <header class="head">
        <h1>minigpt2</h1>
        {model && <ModelChoice models={models} model={model} choose={choose} />}
        {model && <Facts {...model.minigpt2} />}
      </header>
      {model ? <Write key={changes} model={model} models={models} /> : <NoModel {...{ models, problem, again }} />}
      <TokenDialog />
    </>
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
