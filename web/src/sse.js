// Server-sent events out of bytes that may be split anywhere, even within a letter.

/** Yield the data of each event; comments and fields other than `data` are passed over. */
export async function* events(chunks) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of chunks) {
    const whole = (rest + decoder.decode(chunk, { stream: true })).split(/\r?\n\r?\n/);
    rest = whole.pop();
    for (const event of whole) {
      const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      if (data.length) yield data.map((line) => line.replace(/^data: ?/, "")).join("\n");
    }
  }
}

/** The chunks of a body; leaving early cancels it, so that the server stops computing. */
export async function* chunksOf(body) {
  const reader = body.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    reader.cancel().catch(() => {}); // it may have ended, or been aborted, already
  }
}
