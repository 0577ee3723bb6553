// Training as it goes on: the list of runs is asked for again and again, curves when they grew.
import { useEffect, useRef, useState } from "preact/hooks";
import { run as askRun, runs as askRuns } from "../api.js";
import { useAnswer } from "./inspect.js";

const EVERY = 2000; // ms
const QUIET = 120; // s without a line in its log, and a run is not thought to train

/** Whether a run is being trained, as far as its log tells. */
export const trains = ({ step, steps, updated }) => updated < QUIET && step < (steps ?? Infinity);

/** {data: {runs}, problem, ...} as of useAnswer: asked for once, or `often` while the tab is seen. */
export function useRuns(wanted, often) {
  const { waiting, again, ...look } = useAnswer("runs", askRuns, wanted);
  useEffect(() => {
    if (!often || waiting) return;
    const timer = setInterval(() => document.hidden || again(), EVERY);
    return () => clearInterval(timer);
  }, [often, waiting]);
  return { ...look, again, waiting: look.data === null }; // what is there is not made pale each time
}

/** What the server tells of each of the runs called `names`, asked for again when it is further. */
export function useCurves(runs, names) {
  const [told, setTold] = useState(new Map());
  const asked = useRef(new Map()).current; // the step of each run when it was last asked for
  useEffect(() => {
    for (const { name, step } of runs) {
      if (!names.includes(name) || asked.get(name) === step) continue;
      asked.set(name, step);
      const put = (run) => setTold((old) => new Map(old).set(name, run));
      askRun(name).then(put, () => asked.delete(name)); // with the next list it is tried again
    }
  }, [runs, names.join("/")]);
  return told;
}
