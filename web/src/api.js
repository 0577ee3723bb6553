// The server's API: what is asked, and what can go wrong, in words. Knows nothing of the page.
import { EventSourceParserStream } from "eventsource-parser/stream";
import { kept, keep } from "./kept.js";

export class ApiError extends Error {
  constructor(message, { status = 0, wait = 1, code } = {}) {
    super(message);
    const [, point] = /^character .*\(U\+(\w+)\)/.exec(message) ?? []; // that the model does not know
    Object.assign(this, { status, wait, code, unknown: point && String.fromCodePoint(parseInt(point, 16)) });
  }
}

const LOST = "There is no connection to the server.";

/** What a page does where a request has to wait; it puts its own ways here. */
export const page = {
  askForToken: async () => null, // resolves to one, or to null
  tellLoading: () => {}, // whether it is a model that is being loaded
};
let asking = null;

async function problem(response) {
  const told = await response.json().catch(() => null); // not ours, perhaps: then the status says it
  const { status, headers } = response;
  const wait = Number(headers.get("Retry-After")) || 1; // seconds
  return new ApiError(told?.error?.message ?? `The server answered ${status}.`, { status, wait, code: told?.error?.code });
}

async function send(path, body, signal) {
  const token = kept("token");
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  const post = body && { method: "POST", body: JSON.stringify(body) };
  return fetch(path, { headers, signal, ...post }).catch((error) => {
    throw signal?.aborted ? error : new ApiError(LOST);
  });
}

/** Whether there is a token now that a refused request can be sent with. */
async function newToken() {
  asking ??= page.askForToken().finally(() => (asking = null)); // several requests, one dialog
  const token = await asking;
  if (token) keep("token", token);
  return Boolean(token);
}

/** The answer to a request, once the server has its token and the model is loaded. */
async function ask(path, body, signal) {
  for (;;) {
    const response = await send(path, body, signal);
    page.tellLoading(response.status === 503);
    if (response.ok) return response;
    const error = await problem(response);
    if (error.status === 503) await new Promise((resolve) => setTimeout(resolve, 1000 * error.wait));
    else if (error.status !== 401 || !(await newToken())) throw error;
    signal?.throwIfAborted();
  }
}

const answer = async (path, body, signal) => (await ask(path, body, signal)).json();

export const models = async (signal) => (await answer("v1/models", null, signal)).data;

/** What the model's insides say about a text; see `look/arrays.js` for the arrays in it. */
export const inspect = (body, signal) => answer("api/inspect", body, signal);

/** The training runs of the server, and all about one of them. */
export const runs = (signal) => answer("api/runs", null, signal);
export const run = (name, signal) => answer(`api/runs/${encodeURIComponent(name)}`, null, signal);

/** How many tokens a text has. */
export async function countTokens(model, prompt, signal) {
  const body = { model, prompt, add_special_tokens: false };
  return (await answer("tokenize", body, signal)).tokens.length;
}

/** A text's log-probabilities, token by token, with the likeliest others; nothing is written. */
export async function score(model, prompt, logprobs, signal) {
  const body = { model, prompt, logprobs, echo: true, max_tokens: 0 };
  return (await answer("v1/completions", body, signal)).choices[0].logprobs;
}

/** Yield the events of a completion; raises ApiError, also for an error in mid-stream. */
export async function* complete(request, signal) {
  const body = { ...request, stream: true, stream_options: { include_usage: true } };
  const response = await ask("v1/completions", body, signal);
  const text = response.body.pipeThrough(new TextDecoderStream());
  const events = text.pipeThrough(new EventSourceParserStream()).getReader();
  try {
    for (let next = await events.read(); !next.done; next = await events.read()) {
      if (next.value.data === "[DONE]") return;
      const event = JSON.parse(next.value.data);
      if (event.error) throw new ApiError(event.error.message, { status: 500 });
      yield event;
    }
  } catch (error) {
    throw signal.aborted || error instanceof ApiError ? error : new ApiError(LOST);
  } finally {
    events.cancel().catch(() => {}); // left early, the server stops computing; else it has ended
  }
  throw new ApiError("The connection to the server broke off.");
}
