// What every view that looks inside has: its title, its question, its legend, and two ways to take
// it away, as a picture of what is on screen and as the numbers themselves.
import { useRef, useState } from "preact/hooks";
import { Notice } from "../notice.jsx";
import { plain } from "./arrays.js";
import "./look.css";

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const MARGIN = 24; // px, around a picture

async function pictureOf(element) {
  const { domToBlob } = await import("modern-screenshot"); // half of the page's code: when wanted
  const { width, height } = element.getBoundingClientRect();
  return domToBlob(element, {
    scale: 2,
    width: Math.round(width) + 2 * MARGIN,
    height: Math.round(height) + 2 * MARGIN,
    style: { padding: `${MARGIN}px`, margin: "0" },
    backgroundColor: getComputedStyle(document.body).backgroundColor,
    filter: (node) => !node.matches?.(".unpictured, [type=range]"),
    font: false,
  });
}

/** `look` is what useInspect or useAnswer gave; `children` may use it only where it has data. */
export function Frame({ name, title, question, controls, legend, look, children }) {
  const frame = useRef();
  const [failed, setFailed] = useState(null);
  const { data, request, problem, waiting, again } = look;
  const asked = request?.startsWith("{") ? JSON.parse(request) : request;
  const saveNumbers = () => {
    const text = JSON.stringify({ request: asked, data: plain(data) });
    save(new Blob([text], { type: "application/json" }), `${name}.json`);
  };
  const savePicture = async () => {
    setFailed(null);
    try {
      save(await pictureOf(frame.current), `${name}.png`);
    } catch (error) {
      setFailed(`The picture could not be made: ${error.message ?? error}`);
    }
  };
  return (
    <section class="frame" ref={frame} aria-labelledby={`${name}-title`} aria-busy={waiting}>
      <header>
        <h2 id={`${name}-title`}>{title}</h2>
        <p class="question">{question}</p>
        <div class="row takes unpictured">
          <button disabled={!data} onClick={savePicture} title="Save as a picture">PNG</button>
          <button disabled={!data} onClick={saveNumbers} title="Save the numbers">JSON</button>
        </div>
      </header>
      {controls && <div class="row">{controls}</div>}
      {(problem || failed) && (
        <Notice text={failed ?? problem.message} label="Try again"
          act={problem && problem.status !== 400 && again} />
      )}
      {!data && waiting && <p class="small" role="status">The model is being asked …</p>}
      <div class={data && (waiting || problem) ? "seen stale" : "seen"}>{data && children}</div>
      <footer class="legend small">
        {legend}
        {asked?.model && <p>Model: {asked.model}</p>}
      </footer>
    </section>
  );
}
