// Curves as a picture, drawn by uPlot: read by pointer or arrow keys, a part chosen by dragging.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

const [HEIGHT, LEFT, RIGHT, BELOW] = [320, 52, 12, 46]; // px, of all and around the curves
const MOVES = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
const exact = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
const brief = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

function plot(box, lines, data, log, hooks) {
  const { fontFamily } = getComputedStyle(box);
  const colour = (name) => getComputedStyle(box).getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false },
    font: `12px ${fontFamily}`, values: (u, all) => all.map((at) => (at === null ? "" : brief.format(at))),
  };
  const series = lines.map(({ stroke, faint, marked: show }) => ({
    stroke, width: faint ? 1 : 2, alpha: faint ? 0.5 : 1, points: { show, size: 6, fill: stroke },
  }));
  const range = (u, from, to) => (from < to ? [from, to] : [from / 2, 2 * to || 1]);
  return new uPlot({
    width: box.clientWidth, height: HEIGHT, padding: [10, RIGHT, 0, 0], legend: { show: false },
    scales: { x: { time: false, distr: log ? 3 : 1, range } }, cursor: { y: false }, series: [{}, ...series],
    axes: [{ ...axis, size: BELOW, gap: 22 }, { ...axis, size: LEFT }], hooks,
  }, data, box);
}

/** `curves`: {x, y, name, said, stroke, faint, marked} each; onPick is told one of the steps `kept`. */
export function Chart({ curves, log, dark, label, kept, chosen, onPick }) {
  const [box, drawn, [at, setAt], [span, setSpan]] = [useRef(), useRef(), useState(), useState([0, 1])];
  const on = (step) => !log || step > 0; // a logarithmic axis has no place for step 0
  const lines = curves.map(({ stroke, faint, marked }) => ({ stroke, faint, marked }));
  const data = uPlot.join(curves.map(({ x, y }) => [x.filter(on), y.filter((_, i) => on(x[i]))]));
  useEffect(() => {
    const u = (drawn.current = plot(box.current, lines, data, log, {
      setCursor: [({ data: [steps], cursor: { idx } }) => setAt(steps[idx ?? -1])],
      setScale: [({ scales: { x } }, name) => name === "x" && setSpan([x.min, x.max])],
    }));
    const size = ([{ contentRect: { width } }]) => u.setSize({ width, height: HEIGHT });
    const sizes = new ResizeObserver(size);
    sizes.observe(box.current);
    return () => (sizes.disconnect(), u.destroy());
  }, [JSON.stringify([lines, log, dark])]);
  useEffect(() => {
    const { data: [old], scales: { x: { min, max } } } = drawn.current;
    const part = min !== null && (min > old[0] || max < old.at(-1)); // what was chosen stays
    drawn.current.setData(data, !part);
    if (part) drawn.current.redraw();
  }, [JSON.stringify(data)]);
  const press = (event) => {
    if (!(event.key in MOVES)) return;
    const [u, last] = [drawn.current, data[0].length - 1];
    const i = Math.min(last, Math.max(0, (u.cursor.idx ?? last) + MOVES[event.key]));
    u.setCursor({ left: u.valToPos(data[0][i], "x"), top: 0 });
    event.preventDefault();
  };
  const [start, length] = log ? [Math.log(span[0]), Math.log(span[1] / span[0])] : [span[0], span[1] - span[0]];
  const marks = kept.filter(on).map((step) => [step, ((log ? Math.log(step) : step) - start) / length]);
  const pick = ({ currentTarget, clientX }) => {
    const { left, width } = currentTarget.getBoundingClientRect();
    const off = ([, along]) => Math.abs(along - (clientX - left) / width);
    onPick(marks.reduce((best, mark) => (off(mark) < off(best) ? mark : best))[0]);
  };
  const told = ({ x, y }) => y[x.findLastIndex((step) => step <= (at ?? Infinity))];
  return (
    <div class="chart">
      <div ref={box} tabIndex={0} role="application" aria-roledescription="chart" aria-label={label}
        onKeyDown={press} onBlur={() => drawn.current.setCursor({ left: -10, top: -10 })} />
      {marks.length > 0 && (
        <div class="kept" onClick={pick} title="Checkpoints kept on the way: click one"
          style={{ left: `${LEFT}px`, right: `${RIGHT}px`, top: `${HEIGHT - BELOW}px` }}>
          {marks.map(([step, along]) => (
            <i key={step} class={step === chosen ? "chosen" : ""} style={{ left: `${100 * along}%` }} />))}
        </div>)}
      <p class="read" aria-live="polite">
        <b>{at === undefined ? "Last" : `Step ${at.toLocaleString("en")}`}</b>
        {curves.map(({ name, said, stroke, ...curve }, i) => [
          name !== curves[i - 1]?.name && <bdi key={name} style={{ "--own": stroke }}>{name}</bdi>,
          <span key={[name, said]}><b>{exact.format(told(curve) ?? NaN).replace("NaN", "–")}</b> {said}</span>])}
      </p>
    </div>
  );
}
