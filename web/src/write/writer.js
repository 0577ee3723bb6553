// The one who writes: the manuscript, the settings, and the requests that may be running.
// Knows the API and no elements; the view draws what stands here whenever it says so.
import { ApiError, complete, countTokens, score } from "../api.js";
import { later } from "../later.js";
import { append, cut, edit, promptEnd, promptOf, same } from "./manuscript.js";
import { SEED } from "./settings.js";
import { ALTERNATIVES, placed, spansOf } from "./surprise.js";
import { ending, fit, known, longest } from "./window.js";

const [SETTLED, RESTED] = [150, 250]; // ms until a setting counts that moves, and a text
const LATELY = 100; // tokens over which the speed is told

export class Writer {
  #stopWriting = () => {};
  #stopMeasuring = () => {};

  constructor({ manuscript, settings, model, changed }) {
    Object.assign(this, { manuscript, settings, model, changed });
    this.run = null; // {start, written, slide, times, finish}: what is being written, or was last
    this.used = null; // tokens of the window
    this.notice = null; // {text, label, act}
    this.past = []; // manuscripts
    this.tokens = []; // of the text, where its surprise has been measured
    this.other = null; // the Writer beside this one, who does as this one does
    this.seedUsed = this.canContinue;
  }

  /** How many tokens are written at a time. */
  get length() { return Math.min(this.settings.length, longest(this.model)); }

  get canContinue() { return promptEnd(this.manuscript) < this.manuscript.text.length; }

  get running() { return this.run !== null && this.run.finish === null; }

  /** What has been measured of what the model sees. */
  get spans() { return spansOf(this.tokens, this.manuscript.sight, this.model.minigpt2.block_size); }

  /** Whether this one or the one beside it writes. */
  get busy() { return this.running || Boolean(this.other?.running); }

  /** Tokens a second, lately; null where that can't be told yet. */
  get speed() {
    const times = this.run?.times.slice(-LATELY) ?? [];
    const seconds = (times.at(-1) - times[0]) / 1000;
    return times.length > 2 && seconds > 0 ? (times.length - 1) / seconds : null;
  }

  // --- what people do ---

  type(text) {
    this.other?.stop();
    this.#put(edit(this.manuscript, text));
    if (this.other && !this.other.run) this.other.#put(promptOf(this.manuscript));
  }

  /** Write on from all there is. */
  write() { if (!this.busy) this.#begin(this.manuscript, { goesOn: true }); }

  /** Throw away what the model wrote last, and write it anew. */
  regenerate() { this.#begin(promptOf(this.manuscript)); }

  /** Let another token stand at a place, and the model write on behind it. */
  branch(at, piece) { this.#begin(append(cut(this.manuscript, at), piece)); }

  /** Let another model write beside this one, from the same prompts; null: none. */
  compare(model) {
    this.other?.stop();
    this.other = model && new Writer({ ...this, manuscript: promptOf(this.manuscript), model });
    this.other?.#measure();
    this.changed();
  }

  stop() {
    this.other?.stop();
    if (this.running) this.#end("stopped");
  }

  undo() {
    this.stop();
    this.other?.undo();
    this.#put(this.past.pop() ?? this.manuscript);
  }

  /** Change settings; while text streams in, they act on it as soon as they rest. */
  set(values) {
    const { seed, surprise } = this.settings;
    this.settings = { ...this.settings, ...values };
    this.other?.set(values);
    const reseeded = seed !== this.settings.seed;
    if (reseeded) this.seedUsed = this.running;
    if (surprise !== this.settings.surprise) this.#forget();
    else if (this.running && reseeded) {
      this.#put(cut(this.manuscript, this.run.start), { ...this.run, written: 0 });
    } else if (this.running) this.#write(SETTLED);
    this.changed();
  }

  setModel(model) {
    Object.assign(this, { model, manuscript: { ...this.manuscript, sight: 0 } });
    this.#forget();
  }

  // --- what is written, and what is known of it ---

  /** Take another manuscript; what was measured before the first change still holds. */
  #put(manuscript, run = null) {
    const head = same(this.manuscript.text, manuscript.text);
    this.tokens = this.tokens.filter(({ from, to }) => from < head && to <= head);
    Object.assign(this, { manuscript, run, notice: null });
    if (run) this.#write(0);
    else this.#measure();
    this.changed();
  }

  /** Measure anew, or write on so that what comes is told as it is to be told now. */
  #forget() {
    this.tokens = [];
    if (this.running) this.#write(SETTLED); // checkpoints come in quick succession
    else this.#measure();
    this.changed();
  }

  #tell(text, label, act) {
    this.notice = { text, label, act: () => ((this.notice = null), act()) };
  }

  /** Tell, a little later, how much of the window the text takes, and how surprising it is. */
  #measure(ms = RESTED) {
    this.#stopMeasuring();
    const { model, settings, manuscript: { text, sight } } = this;
    const work = async (signal) => {
      const seen = text.slice(sight);
      const count = await countTokens(model.id, seen, signal);
      if (text === this.manuscript.text) this.used = count;
      if (!settings.surprise || !seen) return this.tokens;
      const [measured] = await ending(model, seen, count, model.minigpt2.block_size, signal);
      const told = await score(model.id, measured, ALTERNATIVES, signal);
      const newer = this.tokens.filter(({ from }) => from >= text.length); // written in the meantime
      return [...placed(told, measured, text.length - measured.length), ...newer];
    };
    const done = (tokens) => {
      this.tokens = tokens;
      this.changed();
    };
    const failed = (error) => {
      if (!this.notice) this.#tell(`Not measured: ${error.message}`, "Try again", () => this.#measure());
      this.changed();
    };
    this.#stopMeasuring = later(ms, work, done, failed);
  }

  // --- a run, and the requests it is made of ---

  #begin(manuscript, { slide = false, goesOn = false } = {}) {
    this.past = [...this.past.slice(-49), this.manuscript];
    if (this.seedUsed && !this.settings.lock) {
      this.settings = { ...this.settings, seed: (this.settings.seed + 1) % (SEED.max + 1) };
    }
    this.seedUsed = true;
    this.other?.#join(this, manuscript, { slide, goesOn });
    this.#put(manuscript, { start: manuscript.text.length, written: 0, slide });
  }

  /** Write from what the first one writes from, or go on with one's own text from the same prompt. */
  #join(first, manuscript, how) {
    const alike = promptOf(this.manuscript).text === promptOf(manuscript).text;
    Object.assign(this, { settings: first.settings, seedUsed: false }); // the seed of both
    this.#begin(how.goesOn && alike && this.canContinue ? this.manuscript : manuscript, how);
  }

  /** Write until the run has its length: with one request, or several where windows slide. */
  #write(ms) {
    this.#stopWriting();
    this.#stopMeasuring();
    this.notice = null;
    const run = Object.assign(this.run, { times: [], finish: null });
    const work = async (signal) => {
      let finish = "length";
      while (run.written < this.length && finish === "length") {
        const before = run.written;
        finish = await this.#request(run, signal);
        if (run.written === before) break; // nothing came: asking again would not end
      }
      return finish;
    };
    this.#stopWriting = later(ms, work, (finish) => this.#end(finish), (error) => this.#fail(error));
    this.changed();
  }

  /** Take what one request brings, and return why it ended. */
  async #request(run, signal) {
    const { prompt, used, room } = await fit(this.model, this.manuscript, run.slide, signal);
    if (room < 1) return "window";
    signal.throwIfAborted();
    const { text } = this.manuscript;
    this.manuscript = { ...this.manuscript, sight: text.length - prompt.length };
    this.used = used ?? this.used;
    if (this.settings.surprise && this.tokens.at(-1)?.to !== text.length) this.#measure(0);
    const before = run.written;
    const most = Math.min(this.length - before, room);
    const request = { ...this.#sampling(), model: this.model.id, prompt, max_tokens: most };
    let [finish, points] = [null, 0];
    for await (const { choices: [choice], usage } of complete(request, signal)) {
      signal.throwIfAborted(); // what had come before it was stopped is not taken any more
      if (usage) run.written = before + usage.completion_tokens;
      if (!choice) continue;
      finish = choice.finish_reason ?? finish;
      this.#take(run, choice, points);
      points += [...choice.text].length;
    }
    return finish;
  }

  #sampling() {
    const { temperature, top_p, top_k, min_p, seed } = this.settings;
    // The same draws once more would make the text echo itself: what goes on has its own.
    const own = (seed + this.run.written) % (SEED.max + 1);
    const on = { ...(top_k > 0 && { top_k }), ...(top_p < 1 && { top_p }), ...(min_p > 0 && { min_p }) };
    return { temperature, seed: own, ...on, ...(this.settings.surprise && { logprobs: ALTERNATIVES }) };
  }

  // Events are counted as tokens; at the end of a request the server says the true number.
  #take(run, { text, logprobs }, points) {
    const told = logprobs ? placed(logprobs, text, this.manuscript.text.length, points) : [];
    this.tokens = [...this.tokens, ...told];
    this.manuscript = append(this.manuscript, text);
    run.written++;
    run.times.push(performance.now());
    if (this.used !== null) this.used++;
    this.changed();
  }

  #end(finish) {
    this.#stopWriting();
    this.run.finish = finish;
    if (finish === "window") {
      const goOn = () => this.#begin(this.manuscript, { slide: true, goesOn: true });
      const full = `The window of ${this.model.minigpt2.block_size} tokens is full.`;
      this.#tell(full, "Go on from its last half", goOn);
    }
    this.#measure();
    this.changed();
  }

  #fail(error) {
    this.#end("error");
    const busy = error.status === 429 && `The server is busy; it asks to wait ${error.wait} s.`;
    const leaveOut = () => known(this.model, this.manuscript.text).then((text) => this.type(text));
    if (error.unknown) this.#tell(error.message, "Leave such ones out", leaveOut);
    else this.#tell(busy || error.message, "Try again", () => this.#write(0));
    if (!(error instanceof ApiError)) throw error; // a fault of ours: say it loudly
  }
}
