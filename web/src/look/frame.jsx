// What every view that looks inside has: its title, its question, its legend, and two ways to take
// it away, as a picture of what is on screen and as the numbers themselves.
import { useRef } from "preact/hooks";
import { Notice } from "../notice.jsx";
import { plain } from "./arrays.js";
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

/** `look` is what useInspect or useAnswer gave; `children` may use it only where it has data. */
export function Frame({ name, controls, scales, look, children }) {
  const box = useRef();
  const { data, request, problem, waiting, again } = look;
  const asked = request?.startsWith("{") ? JSON.parse(request) : request;
  return (
    <section class="frame" ref={box} aria-labelledby={`${name}-title`} aria-busy={waiting}>
      <Head {...{ name, box }} ready={Boolean(data)} numbers={() => ({ request: asked, data: plain(data) })} />
      {controls && <div class="row">{controls}</div>}
      {problem && <Notice text={problem.message} label="Try again" act={problem.status !== 400 && again} />}
      {!data && waiting && <p class="small" role="status">The model is being asked …</p>}
      <div class={data && (waiting || problem) ? "seen stale" : "seen"}>{data && children}</div>
      <footer class="legend small">
        {scales && <div class="row">{scales}</div>}
        <p>{WORDS[name].legend}</p>
        {asked?.model && <p>Model: {asked.model}</p>}
      </footer>
    </section>
  );
}
