// Numbers as a picture: one pixel of the canvas a cell, made larger by CSS. What it means is said
// by who draws it; it is hidden from who cannot see.
import { useLayoutEffect, useRef } from "preact/hooks";

export function Pixels({ values, rows, cols, scale }) {
  const canvas = useRef();
  useLayoutEffect(() => {
    const picture = new ImageData(cols, rows);
    const { data } = picture;
    for (let i = 0; i < rows * cols; i++) {
      const colour = scale.rgb(values[i]);
      if (!colour) continue; // it stays clear
      [data[4 * i], data[4 * i + 1], data[4 * i + 2]] = colour;
      data[4 * i + 3] = 255;
    }
    canvas.current.getContext("2d").putImageData(picture, 0, 0);
  }, [values, rows, cols, scale]);
  return <canvas ref={canvas} class="pixels" width={cols} height={rows} aria-hidden="true" />;
}
