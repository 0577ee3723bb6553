// What every view that looks inside has: its title, its question, its legend, and two ways to take
// it away, as a picture of what is on screen and as the numbers themselves.
import { useRef } from "preact/hooks";
import { Notice } from "../notice.jsx";
import { plain } from "./arrays.js";
import "./look.css";

const MARGIN = 24; // px, around a picture

async function pictureOf(element) {
  const { domToBlob } = await import("modern-screenshot"); // half of the page's code: when wanted
  const { width, height } = element.getBoundingClientRect();
  return domToBlob(element, {
    scale: 2, font: false,
    width: Math.round(width) + 2 * MARGIN, height: Math.round(height) + 2 * MARGIN,
    style: { padding: `${MARGIN}px`, margin: "0" },
    backgroundColor: getComputedStyle(document.body).backgroundColor,
    filter: (node) => !node.matches?.(".unpictured, [type=range]"),
  });
}

/** `look` is what useInspect or useAnswer gave; `children` may use it only where it has data. */
export function Frame({ name, title, question, controls, legend, look, children }) {
  const frame = useRef();
  const { data, request, problem, waiting, again } = look;
  const asked = request?.startsWith("{") ? JSON.parse(request) : request;
  const numbers = () => new Blob([JSON.stringify({ request: asked, data: plain(data) })]);
  const save = (kind, blob) => {
    const href = URL.createObjectURL(blob);
    Object.assign(document.createElement("a"), { href, download: `${name}.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  };
  const savePicture = () => pictureOf(frame.current).then((blob) => save("png", blob))
    .catch((error) => alert(`The picture could not be made: ${error.message ?? error}`));
  return (
    <section class="frame" ref={frame} aria-labelledby={`${name}-title`} aria-busy={waiting}>
      <header>
        <h2 id={`${name}-title`}>{title}</h2>
        <div class="row unpictured">
          <button disabled={!data} onClick={savePicture}>PNG</button>
          <button disabled={!data} onClick={() => save("json", numbers())}>JSON</button>
        </div>
        <p class="question">{question}</p>
      </header>
      {controls && <div class="row">{controls}</div>}
      {problem
        && <Notice text={problem.message} label="Try again" act={problem.status !== 400 && again} />}
      {!data && waiting && <p class="small" role="status">The model is being asked …</p>}
      <div class={data && (waiting || problem) ? "seen stale" : "seen"}>{data && children}</div>
      <footer class="legend small">{legend}{asked?.model && <p>Model: {asked.model}</p>}</footer>
    </section>
  );
}
