// Asking about a text: one answer at a time, the newest; the older one stays until it comes.
import { useEffect, useState } from "preact/hooks";
import { inspect } from "../api.js";
import { decoded } from "./arrays.js";

const SETTLED = 150; // ms until what is typed, or a slider that moves, is believed
const open = new Set(); // what is asked and not yet answered

/** Whether an answer is awaited: what plays through checkpoints waits for the slowest. */
export const asking = () => open.size > 0;

/** {data, request, problem, waiting, again} of what the model's insides say about a text. */
export function useInspect(model, text, request) {
  const body = JSON.stringify({ model: model.id, prompt: text, ...request });
  return useAnswer(body, (signal) => inspect(JSON.parse(body), signal), request !== null);
}

/** The same of anything that is asked; `key` says when to ask anew. */
export function useAnswer(key, ask, wanted = true) {
  const [state, setState] = useState({ data: null, request: null, problem: null, done: null });
  const [attempt, setAttempt] = useState(0);
  const asked = `${attempt} ${key}`;
  useEffect(() => {
    if (!wanted) return;
    const controller = new AbortController();
    const told = (data) => ({ data, request: key, problem: null });
    const look = async () => {
      const news = await ask(controller.signal).then(decoded).then(told, (problem) => ({ problem }));
      if (controller.signal.aborted) return;
      if (news.problem?.status === 503) { // a model that is being loaded is waited for
        timer = setTimeout(look, 1000 * news.problem.wait);
        return;
      }
      open.delete(controller);
      setState((old) => ({ ...old, ...news, done: asked }));
    };
    let timer = setTimeout(look, SETTLED);
    open.add(controller);
    return () => (clearTimeout(timer), open.delete(controller), controller.abort());
  }, [asked, wanted]);
  return { ...state, waiting: state.done !== asked, again: () => setAttempt((n) => n + 1) };
}
