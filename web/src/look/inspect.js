// Asking about a text: one answer at a time, the newest; the older one stays until it comes.
import { useEffect, useState } from "preact/hooks";
import { inspect } from "../api.js";
import { later } from "../later.js";
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

/** A look and another that belongs to it, as one; `more` is what the other adds to the data. */
export const joined = (look, other, more) => ({
  ...look, data: look.data && { ...look.data, ...more }, problem: look.problem ?? other.problem,
  waiting: look.waiting || other.waiting, again: () => (look.again(), other.again()),
});

/** The same of anything that is asked; `key` says when to ask anew. */
export function useAnswer(key, ask, wanted = true) {
  const [state, setState] = useState({ data: null, request: null, problem: null, done: null });
  const [attempt, setAttempt] = useState(0);
  const asked = `${attempt} ${key}`;
  useEffect(() => {
    if (!wanted) return;
    const question = {};
    const close = (news) => {
      open.delete(question);
      setState((old) => ({ ...old, ...news, done: asked }));
    };
    open.add(question);
    const callOff = later(
      state.data ? SETTLED : 0, // what is asked first is asked at once
      async (signal) => decoded(await ask(signal)),
      (data) => close({ data, request: key, problem: null }), (problem) => close({ problem }),
    );
    return () => (open.delete(question), callOff());
  }, [asked, wanted]);
  const waiting = wanted && state.done !== asked;
  return { ...state, waiting, again: () => setAttempt((n) => n + 1) };
}
