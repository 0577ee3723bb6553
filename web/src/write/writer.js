// The one who writes: the manuscript, the settings, and the one request that may be running.
// Knows the API and no elements; the view draws what stands here whenever it says so.
import { ApiError, complete, countTokens } from "../api.js";
import { append, cut, edit, promptEnd } from "./manuscript.js";
import { MAX_SEED } from "./settings.js";
import { WindowFull, fit } from "./window.js";

const SETTLED = 150; // ms until a slider that moves is believed
const SPEED_OVER = 2000; // ms
const SAMPLED_BY = ["temperature", "top_k", "top_p", "min_p"];

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Writer {
  constructor({ manuscript, settings, model, changed }) {
    Object.assign(this, { manuscript, settings, model, changed });
    this.running = false;
    this.run = null; // {start, written, slide, times}
    this.used = null; // tokens of the window
    this.notice = null; // {text, label, act}
    this.finish = null;
    this.past = []; // manuscripts
    this.seedUsed = this.canContinue;
  }

  /** How many tokens are written at a time: what exceeds the window can be refused. */
  get length() {
    const { overflow, block_size } = this.model.minigpt2;
    return overflow === "error" ? Math.min(this.settings.length, block_size) : this.settings.length;
  }

  get canContinue() {
    return promptEnd(this.manuscript) < this.manuscript.text.length;
  }

  // --- what people do ---

  type(text) {
    this.manuscript = edit(this.manuscript, text);
    this.notice = this.finish = this.run = null;
    this.count();
    this.changed();
  }

  /** Write on from all there is. */
  write() {
    if (!this.running) this.#begin(this.manuscript);
  }

  /** Throw away what the model wrote last, and write it anew. */
  regenerate() {
    this.#begin(cut(this.manuscript, promptEnd(this.manuscript)));
  }

  stop() {
    if (!this.running) return;
    this.#abort();
    this.#end("stopped");
  }

  undo() {
    this.stop();
    this.manuscript = this.past.pop() ?? this.manuscript;
    this.notice = this.finish = this.run = null;
    this.count();
    this.changed();
  }

  /** Change settings; while text streams in, they act at once, from the text so far. */
  set(values) {
    const before = this.settings;
    this.settings = { ...before, ...values };
    if (this.settings.seed !== before.seed) this.seedUsed = false;
    const differs = (name) => this.settings[name] !== before[name];
    if (this.running && differs("seed")) this.#soon("afresh");
    else if (this.running && SAMPLED_BY.some(differs)) this.#soon("resume");
    // A changed length needs no new request: the loop in #pump looks at it.
    this.changed();
  }

  setModel(model) {
    if (model === this.model && this.used !== null) return;
    this.model = model;
    this.manuscript = { ...this.manuscript, sight: 0 };
    if (this.running) this.#soon("resume"); // checkpoints come in quick succession
    this.count();
    this.changed();
  }

  /** Tell, a little later, how much of the window the text takes. */
  count() {
    clearTimeout(this.counting);
    if (this.running) return;
    this.counting = setTimeout(async () => {
      const { text, sight } = this.manuscript;
      try {
        const used = text ? await countTokens(this.model.id, text.slice(sight)) : 0;
        if (this.running || text !== this.manuscript.text) return;
        this.used = used;
      } catch (error) {
        this.used = null;
        if (error.status === 400) this.notice = { text: error.message };
      }
      this.changed();
    }, 250);
  }

  // --- a run, and the requests it is made of ---

  #begin(manuscript, slide = false) {
    this.past.push(this.manuscript);
    if (this.past.length > 50) this.past.shift();
    const seed = (this.settings.seed + 1) % (MAX_SEED + 1);
    if (this.seedUsed && !this.settings.lock) this.settings = { ...this.settings, seed };
    this.seedUsed = true;
    this.manuscript = manuscript;
    this.run = { start: manuscript.text.length, written: 0, slide, times: [] };
    this.#pump();
  }

  #afresh() {
    this.manuscript = cut(this.manuscript, this.run.start);
    this.seedUsed = true;
    this.run.written = 0;
    this.#pump();
  }

  #soon(how) {
    if (this.pending !== "afresh") this.pending = how; // a new seed outweighs the rest
    clearTimeout(this.soon);
    this.soon = setTimeout(() => (this.pending === "afresh" ? this.#afresh() : this.#pump()), SETTLED);
  }

  #abort() {
    clearTimeout(this.soon);
    clearTimeout(this.counting);
    this.pending = null;
    this.controller?.abort();
    this.controller = new AbortController();
    return this.controller.signal;
  }

  /** Ask for text until the run has its length: one request, or several where windows slide. */
  async #pump() {
    const [signal, run] = [this.#abort(), this.run];
    run.times = [];
    Object.assign(this, { running: true, notice: null, finish: null });
    this.changed();
    let finish = "length";
    try {
      while (run.written < this.length && finish === "length") {
        const before = run.written;
        finish = await this.#patiently(() => this.#request(run, signal), signal);
        if (run.written === before) break; // nothing came: asking again would not end
      }
      signal.throwIfAborted();
      this.#end(finish);
    } catch (error) {
      if (!signal.aborted) this.#fail(error);
    }
  }

  /** A model that is being loaded is waited for. */
  async #patiently(ask, signal) {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (error.status !== 503) throw error;
        this.notice = { text: "The model is being loaded; writing begins by itself." };
        this.changed();
        await sleep(error.wait * 1000);
        signal.throwIfAborted();
      }
    }
  }

  async #request(run, signal) {
    const { prompt, used, room } = await fit(this.model, this.manuscript, run.slide, signal);
    signal.throwIfAborted();
    const { text } = this.manuscript;
    this.manuscript = { ...this.manuscript, sight: text.length - prompt.length };
    this.used = used ?? this.used;
    if (run.slide) run.slide = true; // "now" was now
    this.notice = null;
    const most = Math.min(this.length - run.written, room);
    if (most < 1) return "length"; // it was shortened in the meantime
    return this.#stream(run, { ...this.#sampling(), model: this.model.id, prompt, max_tokens: most }, signal);
  }

  #sampling() {
    const { temperature, top_p, top_k, min_p, seed } = this.settings;
    // The same draws once more would make the text echo itself: what goes on has its own.
    const own = (seed + this.run.written) % (MAX_SEED + 1);
    const on = { ...(top_k > 0 && { top_k }), ...(top_p < 1 && { top_p }), ...(min_p > 0 && { min_p }) };
    return { temperature, seed: own, ...on };
  }

  async #stream(run, request, signal) {
    const before = run.written;
    let finish = null;
    for await (const { choices, usage } of complete(request, signal)) {
      signal.throwIfAborted(); // what had come before it was stopped is not taken any more
      if (usage) run.written = before + usage.completion_tokens;
      if (!choices.length) continue;
      finish = choices[0].finish_reason ?? finish;
      this.#take(run, choices[0].text);
      const shortened = this.length < before + request.max_tokens;
      if (shortened && run.written >= this.length) return "length";
    }
    return finish;
  }

  // Events are counted as tokens; at the end of a request the server says the true number.
  #take(run, piece) {
    run.written++;
    if (this.used !== null) this.used++;
    this.manuscript = append(this.manuscript, piece);
    const now = performance.now();
    run.times.push(now);
    while (now - run.times[0] > SPEED_OVER) run.times.shift();
    this.changed();
  }

  /** Tokens a second: lately while writing, null where that can't be told yet. */
  get speed() {
    const { times = [] } = this.run ?? {};
    const seconds = (times.at(-1) - times[0]) / 1000;
    return times.length > 2 && seconds > 0 ? (times.length - 1) / seconds : null;
  }

  #end(finish) {
    this.#abort();
    Object.assign(this, { running: false, finish });
    this.count();
    this.changed();
  }

  #fail(error) {
    this.#end("error");
    this.notice = { text: error.message, label: "Try again", act: () => this.#pump() };
    if (error instanceof WindowFull || error.code === "context_length_exceeded") {
      this.finish = "window";
      this.notice = {
        text: `The window of ${this.model.minigpt2.block_size} tokens is full.`,
        label: "Go on from its last half",
        act: () => this.#begin(this.manuscript, "now"),
      };
    } else if (error.status === 429) {
      this.notice.text = `The server is busy; it asks to wait ${error.wait} s.`;
    } else if (!(error instanceof ApiError)) throw error; // a fault of ours: say it loudly
  }
}
