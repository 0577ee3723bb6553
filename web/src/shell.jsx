// The frame of every view: name, model, views, and what to say when there is no model.
import { useEffect, useState } from "preact/hooks";
import { models as askModels } from "./api.js";
import { readAddress, writeAddress } from "./address.js";
import { TokenDialog } from "./token.jsx";
import { Write } from "./write/write.jsx";

// One view has no need of tabs; they appear with the second.
const VIEWS = [{ name: "write", title: "Write", View: Write }];

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

/** The number of changes of the address by hand, so that a pasted bookmark is read. */
function useAddressChanges() {
  const [changes, setChanges] = useState(0);
  useEffect(() => {
    const count = () => setChanges((n) => n + 1);
    addEventListener("hashchange", count);
    return () => removeEventListener("hashchange", count);
  }, []);
  return changes;
}

export function Shell() {
  const { models, problem, again } = useModels();
  const changes = useAddressChanges();
  const [name, setName] = useState(() => readAddress().model);
  const [view, setView] = useState(() => readAddress().view);
  useEffect(() => {
    setName(readAddress().model);
    setView(readAddress().view);
  }, [changes]);
  const model = models?.find(({ id }) => id === name) ?? models?.[0];
  const choose = (id) => {
    setName(id);
    writeAddress({ model: id });
  };
  const { View } = VIEWS.find((one) => one.name === view) ?? VIEWS[0];
  return (
    <>
      <header class="head">
        <h1>minigpt2</h1>
        {model && <ModelChoice models={models} model={model} choose={choose} />}
        {model && <Facts {...model.minigpt2} />}
        {VIEWS.length > 1 && <Tabs current={View} open={setView} />}
      </header>
      {model ? <View key={changes} model={model} /> : <NoModel {...{ models, problem, again }} />}
      <TokenDialog />
    </>
  );
}

function ModelChoice({ models, model, choose }) {
  if (models.length === 1) return <span class="name">{model.id}</span>;
  return (
    <select class="name" aria-label="Model" value={model.id} onChange={(e) => choose(e.target.value)}>
      {models.map(({ id }) => (
        <option key={id} value={id}>
          {id}
        </option>
      ))}
    </select>
  );
}

const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

function Facts({ parameters, block_size, vocab_size, tokenizer }) {
  const facts = [
    [short.format(parameters), " parameters"],
    [block_size.toLocaleString("en"), "-token window"],
    [vocab_size.toLocaleString("en"), ` tokens, ${tokenizer}`],
  ];
  return (
    <ul class="facts" aria-label="About the model">
      {facts.map(([number, what]) => (
        <li key={what}>
          <b>{number}</b>{what}
        </li>
      ))}
    </ul>
  );
}

function Tabs({ current, open }) {
  const go = (name) => {
    open(name);
    writeAddress({ view: name });
  };
  return (
    <nav class="tabs" aria-label="Views">
      {VIEWS.map(({ name, title, View }) => (
        <button key={name} aria-current={View === current ? "page" : null} onClick={() => go(name)}>
          {title}
        </button>
      ))}
    </nav>
  );
}

function NoModel({ models, problem, again }) {
  if (problem?.status === 503) return <p class="message" role="status">The model is being loaded …</p>;
  if (!models && !problem) return <p class="message" role="status">Asking the server …</p>;
  return (
    <div class="message" role="alert">
      {problem ? <p>{problem.message}</p> : <p>This server has no model to write with.</p>}
      {!problem && (
        <p>
          Start it with one: <code>minigpt2 serve runs/NAME</code>
        </p>
      )}
      <button onClick={again}>Try again</button>
    </div>
  );
}
