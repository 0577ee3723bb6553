// The server's API: what is asked, and what can go wrong, in words. Knows nothing of the page.
import { chunksOf, events } from "./sse.js";
import { kept, keep } from "./kept.js";

export class ApiError extends Error {
  constructor(message, { status = 0, code = null, wait = 1 } = {}) {
    super(message);
    Object.assign(this, { status, code, wait });
  }
}

const LOST = "There is no connection to the server.";

/** What to do when the server wants a token: set by the page; resolves to one, or to null. */
let askForToken = async () => null;
let asking = null;
export function onTokenWanted(ask) {
  askForToken = ask;
}

async function problem(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // Not ours: a proxy, perhaps. The status says what there is to say.
  }
  const { status, headers } = response;
  const wait = Number(headers.get("Retry-After")) || 1; // seconds
  return new ApiError(error.message ?? `The server answered ${status}.`, { status, code: error.code, wait });
}

async function send(path, body, signal) {
  const token = kept("token");
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  const post = body && { method: "POST", body: JSON.stringify(body) };
  try {
    return await fetch(path, { headers, signal, ...post });
  } catch (error) {
    throw signal?.aborted ? error : new ApiError(LOST);
  }
}

async function ask(path, body, signal) {
  let response = await send(path, body, signal);
  while (response.status === 401) {
    asking ??= askForToken().finally(() => (asking = null)); // several requests, one dialog
    const token = await asking;
    signal?.throwIfAborted();
    if (!token) break;
    keep("token", token);
    response = await send(path, body, signal);
  }
  if (!response.ok) throw await problem(response);
  return response;
}

export const models = async () => (await (await ask("v1/models")).json()).data;

/** What the model's insides say about a text; see `look/arrays.js` for the arrays in it. */
export const inspect = async (body, signal) => (await ask("api/inspect", body, signal)).json();

/** The training runs of the server, and all about one of them. */
export const runs = async (signal) => (await ask("api/runs", null, signal)).json();
export const run = async (name, signal) =>
  (await ask(`api/runs/${encodeURIComponent(name)}`, null, signal)).json();

/** How many tokens a text has. */
export async function countTokens(model, prompt, signal) {
  const body = { model, prompt, add_special_tokens: false };
  return (await (await ask("tokenize", body, signal)).json()).tokens.length;
}

/** A text's log-probabilities, token by token, with the likeliest others; nothing is written. */
export async function score(model, prompt, logprobs, signal) {
  const body = { model, prompt, logprobs, echo: true, max_tokens: 0 };
  return (await (await ask("v1/completions", body, signal)).json()).choices[0].logprobs;
}

/** Yield the events of a completion; raises ApiError, also for an error in mid-stream. */
export async function* complete(request, signal) {
  const body = { ...request, stream: true, stream_options: { include_usage: true } };
  const response = await ask("v1/completions", body, signal);
  try {
    for await (const data of events(chunksOf(response.body))) {
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new ApiError(event.error.message, { status: 500, ...event.error });
      yield event;
    }
  } catch (error) {
    throw signal.aborted || error instanceof ApiError ? error : new ApiError(LOST);
  }
  throw new ApiError("The connection to the server broke off.");
}
