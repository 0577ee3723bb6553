// The views, in the order of their tabs. Those that look at a text are given it: {model, text,
// setText}; Write keeps its own, and Runs is given what the shell knows of the runs.
import { Ablate } from "./look/ablate.jsx";
import { Attention } from "./look/attention.jsx";
import { Lens } from "./look/lens.jsx";
import { Next } from "./look/next.jsx";
import { Runs } from "./look/runs.jsx";
import { Walk } from "./look/walk.jsx";
import { Write } from "./write/write.jsx";

export const VIEWS = [
  { id: "write", title: "Write", component: Write },
  { id: "next", title: "Next token", component: Next, looks: true },
  { id: "attention", title: "Attention", component: Attention, looks: true },
  { id: "lens", title: "Logit lens", component: Lens, looks: true },
  { id: "runs", title: "Runs", component: Runs },
  { id: "ablate", title: "Ablate", component: Ablate, looks: true },
  { id: "walk", title: "Walk", component: Walk, looks: true },
];
