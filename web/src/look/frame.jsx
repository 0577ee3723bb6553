// What every view that looks inside has: its title, its question, its legend, and two ways to take
// it away, as a picture of what is on screen and as the numbers themselves.
import { useContext, useRef } from "preact/hooks";
import { Notice } from "../notice.jsx";
import { plain } from "./arrays.js";
import { Text, lookable } from "./text.jsx";
import { known } from "../write/window.js";
import WORDS from "./words.json";
import "./look.css";

const MARGIN = 24; // px, around a picture

async function pictureOf(element) {
  const { domToBlob } = await import("modern-screenshot"); // half of the page's code: when wanted
  const { width, height } = element.getBoundingClientRect();
  for (const input of element.querySelectorAll("input")) input.toggleAttribute("checked", input.checked);
  return domToBlob(element, {
    scale: 2, font: false, width: Math.round(width) + 2 * MARGIN, height: Math.round(height) + 2 * MARGIN,
    style: { padding: `${MARGIN}px`, margin: "0" },
    backgroundColor: getComputedStyle(document.body).backgroundColor,
    filter: (node) => !node.matches?.(".unpictured, [type=range]"),
    features: { restoreScrollPosition: element.matches("main") }, // names that stay in sight would leave
  });
}

/** Title, question, and two ways to take a view away; `picturing` is told while `box` is pictured. */
export function Head({ name, box, numbers, ready = true, picturing, children }) {
  const { title, question } = WORDS[name];
  const save = (kind, blob) => {
    const href = URL.createObjectURL(blob);
    Object.assign(document.createElement("a"), { href, download: `${name}.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  };
  const saveNumbers = () => save("json", new Blob([JSON.stringify(numbers())]));
  const savePicture = async () => {
    picturing?.(true);
    await new Promise((drawn) => setTimeout(drawn));
    await pictureOf(box.current).then((blob) => save("png", blob))
      .catch((error) => alert(`The picture could not be made: ${error.message ?? error}`));
    picturing?.(false);
  };
  return (
    <header>
      <h2 id={`${name}-title`}>{title}</h2>
      <div class="row unpictured">
        <button disabled={!ready} onClick={savePicture}>PNG</button>
        <button disabled={!ready} onClick={saveNumbers}>JSON</button>
      </div>
      <p class="question">{question}</p>
      {children}
    </header>
  );
}

/** What went wrong with a look: it is asked for again, unless the text is the reason. */
function Problem({ problem: { message, status, code, unknown }, again }) {
  const { model, text, setText } = useContext(Text);
  const shorten = () => lookable(model, text).then(setText, again);
  if (code === "context_length_exceeded") return <Notice text={message} label="Take its end" act={shorten} />;
  const leaveOut = () => known(model, text).then(setText);
  if (unknown) return <Notice text={message} label="Leave such ones out" act={leaveOut} />;
  return <Notice text={message} label="Try again" act={status !== 400 && again} />;
}

/** `look` is what useInspect or useAnswer gave; `children` and `below`, under the legend, may use it only where it has data. */
export function Frame({ name, controls, scales, look, children, below }) {
  const box = useRef();
  const { data, request, problem, waiting, again } = look;
  const asked = request?.startsWith("{") ? JSON.parse(request) : request;
  const seen = waiting || problem ? "seen stale" : "seen";
  return (
    <section class="frame" ref={box} aria-labelledby={`${name}-title`} aria-busy={waiting}>
      <Head {...{ name, box }} ready={Boolean(data)} numbers={() => ({ request: asked, data: plain(data) })} />
      {controls && <div class="row">{controls}</div>}
      {problem && <Problem {...{ problem, again }} />}
      {!data && waiting && <p class="small" role="status">The model is being asked …</p>}
      {data && children && <div class={seen}>{children}</div>}
      <footer class="legend small">
        {scales && <div class="row">{scales}</div>}
        <p>{WORDS[name].legend}</p>
        {asked?.model && <p>Model: {asked.model}</p>}
      </footer>
      {data && below && <div class={seen}>{below}</div>}
    </section>
  );
}

/** One of a few, side by side; no two on a page have one label. `options` is {value: its name}. */
export const Choice = ({ label, options, value, choose }) => (
  <fieldset class="choice">
    <legend>{label}</legend>
    {Object.entries(options).map(([each, called]) => (
      <label key={each}>
        <input type="radio" name={label} checked={each === value} onChange={() => choose(each)} /> {called}
      </label>
    ))}
  </fieldset>
);
