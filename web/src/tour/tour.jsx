// A tour through all views: a card that says what is seen, and an outline around it.
import { useEffect, useMemo, useRef } from "preact/hooks";
import { address } from "../address.js";
import { useInspect } from "../look/inspect.js";
import { stepsFor } from "./steps.js";
import "./tour.css";

const BEAT = 200; // ms, to look again for what a view shows only when it has its answer
const BUTTON = "tour-button"; // where the focus goes back to

export const TourButton = ({ put }) => (
  <button id={BUTTON} class="tours" onClick={() => put({ tour: 1, view: "write" })}>Tour</button>
);

/** Outline an element as soon as it can be seen; until then, and without it, the whole view. */
function useOutline(step) {
  useEffect(() => {
    let outlined = null;
    const look = () => {
      const there = [step.at, ".frame"].map((at) => at && document.querySelector(at));
      const found = there.find((element) => element?.getClientRects().length);
      if (!found || found === outlined) return;
      outlined?.removeAttribute("data-toured");
      (outlined = found).setAttribute("data-toured", ""); // no class: those are the view's own
      found.scrollIntoView({ block: "nearest", inline: "nearest" });
    };
    const timer = setInterval(look, BEAT);
    return () => (clearInterval(timer), outlined?.removeAttribute("data-toured"));
  }, [step.title]);
}

/** The head that looks most at the token before; null until it is known. */
function useFound(model, wanted) {
  const { text } = address();
  const asked = wanted && text !== undefined ? { view: "attention" } : null;
  const previous = useInspect(model, text ?? "", asked).data?.previous;
  return useMemo(() => {
    const best = previous?.values.reduce((a, share, i, all) => (share > (all[a] ?? 0) ? i : a), -1) ?? -1;
    if (best < 0) return null; // a text of one token has nothing before it
    const [layer, head] = [Math.floor(best / previous.shape[1]), best % previous.shape[1]];
    return { layer, head, name: `L${layer}H${head}`, percent: Math.round(100 * previous.values[best]) };
  }, [previous]);
}

/** `renew` lets a view read its address anew. */
export function Tour({ model, view, put, renew }) {
  const steps = stepsFor(model.minigpt2);
  const n = Math.max(1, Math.min(Math.trunc(address().tour) || 1, steps.length));
  const step = steps[n - 1];
  const there = view.id === step.view;
  const [card, focused] = [useRef(), useRef(0)];
  const found = useFound(model, Boolean(step.measures && there));
  const go = (to) => steps[to - 1] && put({ tour: to, view: steps[to - 1].view });
  const close = () => (put({ tour: null }), document.getElementById(BUTTON).focus());
  const forth = () => (n < steps.length ? go(n + 1) : close());
  useOutline(step);
  useEffect(() => void (there || go(n)), [n]); // a link need not name the view
  useEffect(() => {
    if (there && focused.current !== n) card.current.focus({ preventScroll: true });
    if (there) focused.current = n; // not again: another view may be opened meanwhile
  }, [n, there]);
  useEffect(() => {
    if (step.measures && found && address().layer === undefined) {
      put({ layer: found.layer, head: found.head });
      renew();
    }
  }, [found, step.title]);
  useEffect(() => {
    const press = (event) => {
      const { key, target, ctrlKey, metaKey, altKey } = event;
      if (ctrlKey || metaKey || altKey || document.querySelector("dialog[open]")) return;
      // Esc may have stopped the writing, which is known when all others have heard of it.
      if (key === "Escape") return void setTimeout(() => event.defaultPrevented || close());
      if (!card.current.contains(target)) return;
      if (key === "ArrowRight" || key === "ArrowLeft") go(key === "ArrowRight" ? n + 1 : n - 1);
      else if (key === "Enter" && target === card.current) forth();
      else return;
      event.preventDefault(); // else Enter would press the button that the focus went back to
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
  return (
    <section class="tour" ref={card} role="dialog" tabIndex={-1} aria-labelledby="tour-title"
      aria-describedby="tour-text">
      <p class="small">Step {n} of {steps.length}</p>
      <h3 id="tour-title">{step.title}</h3>
      <p id="tour-text" aria-live="polite">{step.text.call ? step.text({ ...model.minigpt2, found }) : step.text}</p>
      <div class="row">
        <button onClick={close}>Close</button>
        <button disabled={n === 1} onClick={() => go(n - 1)}>Back</button>
        <button class="primary" onClick={forth}>{n < steps.length ? "Next" : "Finish"}</button>
      </div>
    </section>
  );
}
