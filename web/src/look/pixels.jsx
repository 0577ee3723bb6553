// Numbers as a picture: one pixel of the canvas a cell, made larger by CSS. What it means is said
// by who draws it; it is hidden from who cannot see.
import { useLayoutEffect, useRef } from "preact/hooks";

export function Pixels({ values, rows, cols, scale }) {
  const canvas = useRef();
  useLayoutEffect(() => {
    const picture = new ImageData(cols, rows);
    values.forEach((value, i) => {
      const colour = scale.rgb(value);
      if (colour) picture.data.set([...colour, 255], 4 * i); // what has none stays clear
    });
    canvas.current.getContext("2d").putImageData(picture, 0, 0);
  }, [values, rows, cols, scale]);
  return <canvas ref={canvas} class="pixels" width={cols} height={rows} aria-hidden="true" />;
}
