// A tour through all views: a card that says what is seen, and an outline around it.
import { useEffect, useRef } from "preact/hooks";
import { address, indexOf } from "../address.js";
import { filled } from "../filled.js";
import STEPS from "./steps.json";
import "./tour.css";

const BEAT = 200; // ms, to look again for what a view shows only when it has its answer
const BUTTON = "tour-button"; // where the focus goes back to

export const TourButton = ({ put }) => (
  <button id={BUTTON} class="tours" onClick={() => put({ tour: 1, view: "write" })}>Tour</button>
);

/** Outline the part of the view that a step names, as soon as it is there. */
function useOutline(step, there) {
  useEffect(() => {
    if (!there) return;
    let outlined = null;
    const timer = setInterval(() => {
      const found = step.at ? document.querySelector(step.at) : null;
      if (found === outlined) return;
      outlined = found; // anew where a view is drawn anew
      outlined?.setAttribute("data-toured", ""); // no class: those are the view's own
      outlined?.scrollIntoView({ block: "nearest", inline: "nearest" });
    }, BEAT);
    return () => {
      clearInterval(timer);
      outlined?.removeAttribute("data-toured");
    };
  }, [step, there]);
}

export function Tour({ model: { minigpt2 }, view, put }) {
  const { n_layer, n_head, vocab_size, history } = minigpt2;
  const facts = {
    n_layer, heads: n_layer * n_head, history: history.length, vocab_size: vocab_size.toLocaleString("en"),
  };
  const steps = STEPS.filter(({ needs, lacks }) => (!needs || facts[needs]) && !facts[lacks]);
  const n = indexOf(Math.min(address().tour, steps.length) - 1, steps.length);
  const [step, last] = [steps[n], n === steps.length - 1];
  const there = view.id === step.view;
  const forth = useRef();
  const go = (to) => steps[to] && put({ tour: to + 1, view: steps[to].view, ...steps[to].set });
  const close = () => (put({ tour: null }), document.getElementById(BUTTON).focus());
  useOutline(step, there);
  useEffect(() => {
    forth.current.focus({ preventScroll: true });
    if (!there) go(n); // a link need not name the view
  }, [n]);
  const keys = { ArrowLeft: () => go(n - 1), ArrowRight: () => go(n + 1), Escape: close };
  const press = (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || !(event.key in keys)) return;
    keys[event.key]();
    event.stopPropagation(); // Escape would stop the writing as well
  };
  return (
    <section class="tour" role="dialog" aria-labelledby="tour-title" aria-describedby="tour-text"
      onKeyDown={press}>
      <p class="small">Step {n + 1} of {steps.length}</p>
      <h3 id="tour-title">{step.title}</h3>
      <p id="tour-text" aria-live="polite">{filled(step.text, facts)}</p>
      <div class="row">
        <button onClick={close}>Close</button>
        <button disabled={n === 0} onClick={() => go(n - 1)}>Back</button>
        <button class="primary" ref={forth} onClick={() => (last ? close() : go(n + 1))}>
          {last ? "Finish" : "Next"}
        </button>
      </div>
    </section>
  );
}
