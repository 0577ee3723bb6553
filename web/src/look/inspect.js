// Asking about a text: one answer at a time, the newest; the older one stays until it comes.
import { useEffect, useState } from "preact/hooks";
import { inspect } from "../api.js";
import { later } from "../later.js";
import { decoded } from "./arrays.js";

const SETTLED = 100; // ms until a slider that moves is believed
let underWay = 0;

/** Whether an answer is awaited: what plays through checkpoints waits for the slowest. */
export const asking = () => underWay > 0;

/** {data, request, problem, waiting, again} of what the model's insides say about a text. */
export function useInspect(model, text, request) {
  const body = JSON.stringify({ model: model.id, prompt: text, ...request });
  return useAnswer(body, (signal) => inspect(JSON.parse(body), signal), request !== null);
}

/** The same of anything that is asked; `key` says when to ask anew. */
export function useAnswer(key, ask, wanted = true) {
  const [state, setState] = useState({ data: null, request: null, problem: null, waiting: true });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    if (!wanted) return;
    const put = (values) => setState((old) => ({ ...old, ...values }));
    const work = async (signal) => {
      underWay++;
      try {
        return decoded(await ask(signal));
      } finally {
        underWay--;
      }
    };
    put({ waiting: true });
    return later(
      state.data ? SETTLED : 0, // what is asked first is asked at once
      work,
      (data) => put({ data, request: key, problem: null, waiting: false }),
      (problem) => put({ problem, waiting: false }),
    );
  }, [key, attempt, wanted]);
  return { ...state, again: () => setAttempt((n) => n + 1) };
}
