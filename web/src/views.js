// The views, in the order of their tabs. Those that look at a text are given it: {model, text,
// setText}; Write keeps its own, and Runs is given what the shell knows of the runs.
import { Ablate } from "./look/ablate.jsx";
import { Attention } from "./look/attention.jsx";
import { Lens } from "./look/lens.jsx";
import { Next } from "./look/next.jsx";
import { Runs } from "./look/runs.jsx";
import { Walk } from "./look/walk.jsx";
import WORDS from "./look/words.json";
import { Write } from "./write/write.jsx";

const COMPONENTS = {
  write: Write, next: Next, attention: Attention, lens: Lens, runs: Runs, ablate: Ablate, walk: Walk,
};

export const VIEWS = Object.entries(WORDS).map(([id, words]) => ({ id, component: COMPONENTS[id], ...words }));
