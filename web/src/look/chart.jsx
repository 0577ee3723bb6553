// Curves as a picture, drawn by uPlot: read by pointer or arrow keys, a part chosen by dragging.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { moveByKey, within } from "./grid.js";
import "uplot/dist/uPlot.min.css";

const HEIGHT = 320; // px
const brief = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

/** A plot; it marks the steps u.kept below, and draws a line through the one u.chosen. */
function plot(box, looks, data, measure, onRead) {
  const style = getComputedStyle(box);
  const [quiet, line, accent] = ["--quiet", "--line", "--accent"].map((name) => style.getPropertyValue(name));
  const axis = {
    stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { show: false },
    font: `12px ${style.fontFamily}`, values: (u, all) => all.map(brief.format),
  };
  const only = ({ chosen }, steps) => steps.map((step) => (step === chosen ? step : null));
  const marks = {
    size: 16, values: () => [], ticks: { stroke: quiet, width: 3, size: 10 },
    splits: ({ kept }, i, from, to) => kept.filter((step) => step >= from && step <= to),
    grid: { stroke: accent, width: 2, filter: only },
  };
  const range = ({ kept }, first, last) => {
    const [from, to] = [Math.min(first, kept?.[0] ?? first), Math.max(last, kept?.at(-1) ?? last)];
    return from < to ? [from, to] : [from / 2, 2 * to || 1];
  };
  return new uPlot({
    width: box.clientWidth, height: HEIGHT, legend: { show: false }, cursor: { y: false, lock: true },
    scales: { x: { time: false, range } }, series: [{}, ...looks.map((look) => ({ width: 2, ...look }))],
    axes: [
      marks, { ...axis, label: measure, labelSize: 18, labelFont: axis.font },
      { ...axis, scale: "x", side: 2, size: 28, space: 60, label: "Step", labelSize: 18, labelFont: axis.font },
    ],
    hooks: { setCursor: [({ data: [steps], cursor: { idx } }) => onRead(steps[idx])] },
  }, data, box);
}

/** `curves`: {x, y, look} each, `look` as uPlot has it; onRead is told a step, or undefined for none. */
export function Chart({ curves, measure, kept, chosen, onRead }) {
  const box = useRef();
  const drawn = useRef();
  const data = uPlot.join(curves.map(({ x, y }) => [x, y]));
  const looks = curves.map(({ look }) => look);
  useEffect(() => {
    const u = (drawn.current = plot(box.current, looks, data, measure, onRead));
    const sizes = new ResizeObserver(([{ contentRect: { width } }]) => u.setSize({ width, height: HEIGHT }));
    sizes.observe(box.current);
    return () => (sizes.disconnect(), u.destroy());
  }, [JSON.stringify([looks, measure])]);
  useEffect(() => {
    const u = drawn.current;
    const { data: [old], scales: { x: { min, max } } } = u;
    const part = min !== null && (min > old[0] || max < old.at(-1)); // what was chosen stays
    Object.assign(u, { kept, chosen }).setData(data, !part);
    u.redraw(part, true);
  }, [JSON.stringify([looks, data, kept, chosen])]);
  const move = (down, right) => {
    const [u, count] = [drawn.current, data[0].length];
    const i = within((u.cursor.idx ?? count - 1) + right, count);
    u.setCursor({ left: u.valToPos(data[0][i], "x"), top: 0 });
  };
  return (
    <div ref={box} class="chart" tabIndex={0} role="application" aria-roledescription="chart" aria-label={`${measure} over steps`}
      onKeyDown={(event) => moveByKey(event, move)} />
  );
}
