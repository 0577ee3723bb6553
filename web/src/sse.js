// Server-sent events out of bytes that may be split anywhere, even within a letter.

/** Yield the data of each event; comments and fields other than `data` are passed over. */
export async function* events(chunks) {
  const decoder = new TextDecoder();
  let [rest, data] = ["", []];
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop();
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
      else if (line === "" && data.length) {
        yield data.join("\n");
        data = [];
      }
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
