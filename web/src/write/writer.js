// The one who writes: the manuscript, the settings, and the one request that may be running.
// Knows the API and no elements; the view draws what stands here whenever it says so.
import { ApiError, complete, countTokens, score } from "../api.js";
import { append, cut, edit, promptEnd, promptOf, same } from "./manuscript.js";
import { MAX_SEED } from "./settings.js";
import { ALTERNATIVES, placed } from "./surprise.js";
import { WindowFull, ending, fit } from "./window.js";

const SETTLED = 150; // ms until a slider that moves is believed
const SPEED_OVER = 2000; // ms
const ASKED_FOR = ["temperature", "top_k", "top_p", "min_p", "surprise"];

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
    this.tokens = []; // of the text, where its surprise has been measured
    this.other = null; // the Writer beside this one, who does as this one does
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

  /** Whether this one or the one beside it writes. */
  get busy() {
    return this.running || Boolean(this.other?.running);
  }

  // --- what people do ---

  type(text) {
    this.other?.stop();
    this.#show(edit(this.manuscript, text));
    if (this.other && !this.other.run) this.other.#show(promptOf(this.manuscript));
  }

  /** Write on from all there is. */
  write() {
    if (!this.busy) this.#begin(this.manuscript, { goesOn: true });
  }

  /** Throw away what the model wrote last, and write it anew. */
  regenerate() {
    this.#begin(promptOf(this.manuscript));
  }

  /** Let another token stand at a place, and the model write on behind it. */
  branch(at, piece) {
    this.stop();
    this.#begin(append(cut(this.manuscript, at), piece));
  }

  /** Let another model write beside this one, from the same prompts; null: none. */
  compare(model) {
    this.other?.stop();
    this.other = model && new Writer({ ...this, manuscript: promptOf(this.manuscript), model });
    this.other?.count();
    this.changed();
  }

  stop() {
    this.other?.stop();
    if (!this.running) return;
    this.#abort();
    this.#end("stopped");
  }

  undo() {
    this.stop();
    this.other?.undo();
    this.#show(this.past.pop() ?? this.manuscript);
  }

  /** Show another manuscript, which nobody writes at. */
  #show(manuscript) {
    this.#put(manuscript);
    this.notice = this.finish = this.run = null;
    this.count();
    this.changed();
  }

  /** Take another manuscript; what was measured before the first change still holds. */
  #put(manuscript) {
    this.measuring?.abort();
    const head = same(this.manuscript.text, manuscript.text);
    this.tokens = this.tokens.filter(({ from, to }) => from < head && to <= head);
    this.manuscript = manuscript;
  }

  /** Change settings; while text streams in, they act at once, from the text so far. */
  set(values) {
    const before = this.settings;
    this.settings = { ...before, ...values };
    if (this.settings.seed !== before.seed) this.seedUsed = false;
    const differs = (name) => this.settings[name] !== before[name];
    this.other?.set(values);
    if (differs("surprise")) this.tokens = [];
    if (differs("surprise") && !this.running) this.count();
    if (this.running && differs("seed")) this.#soon("afresh");
    else if (this.running && ASKED_FOR.some(differs)) this.#soon("resume");
    // A changed length needs no new request: the loop in #pump looks at it.
    this.changed();
  }

  setModel(model) {
    if (model === this.model && this.used !== null) return;
    this.model = model;
    this.manuscript = { ...this.manuscript, sight: 0 };
    this.tokens = [];
    if (this.running) this.#soon("resume"); // checkpoints come in quick succession
    this.count();
    this.changed();
  }

  /** Tell, a little later, how much of the window the text takes, and how surprising it is. */
  count() {
    clearTimeout(this.counting);
    this.measuring?.abort();
    if (this.running) return;
    this.counting = setTimeout(async () => {
      const { text, sight } = this.manuscript;
      try {
        const used = text ? await countTokens(this.model.id, text.slice(sight)) : 0;
        if (this.running || text !== this.manuscript.text) return;
        this.used = used;
        this.#measure(used);
      } catch (error) {
        this.used = null;
        if (error.status === 400) this.notice = { text: error.message };
      }
      this.changed();
    }, 250);
  }

  /** Measure what the model sees of the text, which has so many tokens, if that is known. */
  async #measure(count) {
    this.measuring?.abort();
    const { signal } = (this.measuring = new AbortController());
    const { model, manuscript } = this;
    const seen = manuscript.text.slice(manuscript.sight);
    if (!this.settings.surprise || !seen) return;
    try {
      const all = count ?? (await countTokens(model.id, seen, signal));
      const [text] = await ending(model, seen, all, model.minigpt2.block_size, signal);
      const told = await score(model.id, text, ALTERNATIVES, signal);
      const end = manuscript.text.length; // of what was asked for; more may have been written
      const later = this.tokens.filter(({ from }) => from >= end);
      this.tokens = [...placed(told, text, end - text.length), ...later];
    } catch (error) {
      if (signal.aborted) return;
      const act = () => ((this.notice = null), this.count());
      this.notice ??= { text: `Not measured: ${error.message}`, label: "Try again", act };
    }
    this.changed();
  }

  // --- a run, and the requests it is made of ---

  #begin(manuscript, { slide = false, goesOn = false } = {}) {
    this.past.push(this.manuscript);
    if (this.past.length > 50) this.past.shift();
    const seed = (this.settings.seed + 1) % (MAX_SEED + 1);
    if (this.seedUsed && !this.settings.lock) this.settings = { ...this.settings, seed };
    this.seedUsed = true;
    this.other?.#join(this, { manuscript, slide, goesOn });
    this.#put(manuscript);
    this.run = { start: manuscript.text.length, written: 0, slide, times: [] };
    this.#pump();
  }

  /** Write from what the first one writes from, or go on with one's own text from the same prompt. */
  #join(first, { manuscript, slide, goesOn }) {
    const own = goesOn && this.canContinue && promptOf(this.manuscript).text === promptOf(manuscript).text;
    this.settings = first.settings;
    this.seedUsed = false; // the seed of both
    this.#begin(own ? this.manuscript : manuscript, { slide });
  }

  #afresh() {
    this.#put(cut(this.manuscript, this.run.start));
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
    if (this.tokens.at(-1)?.to !== text.length) this.#measure(used);
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
    return { temperature, seed: own, ...on, ...(this.settings.surprise && { logprobs: ALTERNATIVES }) };
  }

  async #stream(run, request, signal) {
    const before = run.written;
    let [finish, points] = [null, 0];
    for await (const { choices, usage } of complete(request, signal)) {
      signal.throwIfAborted(); // what had come before it was stopped is not taken any more
      if (usage) run.written = before + usage.completion_tokens;
      if (!choices.length) continue;
      finish = choices[0].finish_reason ?? finish;
      const { text, logprobs } = choices[0];
      const told = logprobs ? placed(logprobs, text, this.manuscript.text.length, points) : [];
      this.tokens = [...this.tokens, ...told];
      points += [...text].length;
      this.#take(run, text);
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
        act: () => this.#begin(this.manuscript, { slide: "now", goesOn: true }),
      };
    } else if (error.status === 429) {
      this.notice.text = `The server is busy; it asks to wait ${error.wait} s.`;
    } else if (!(error instanceof ApiError)) throw error; // a fault of ours: say it loudly
  }
}
