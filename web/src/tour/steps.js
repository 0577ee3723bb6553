// What the tour says, in order, and what it outlines: `at`, else the whole view. `text` may ask for
// facts. A model without layers gets `bare` in the place of what looks `inside`, or nothing.
export const STEPS = [
  { view: "write", at: ".sheet", title: "What a language model does",
    text: "A language model reads a text and says how likely everything is that could come next. " +
      "One continuation is drawn and put at the end, and the model reads again: so it writes. " +
      "Press Write to watch it." },
  { view: "walk", at: ".tokens", title: "Tokens", inside: true, bare: { view: "next", at: ".looked" },
    text: ({ vocab_size }) => "A model reads tokens: letters, parts of words or whole words out of a " +
      `fixed list. This model’s list has ${vocab_size.toLocaleString("en")}. Each box here is one ` +
      "token of the text above it; a dot stands for a blank." },
  { view: "next", title: "The next token",
    text: "These tokens could follow the text above, the likeliest first, each with its probability. " +
      "The probabilities of all tokens add up to 1. Change the text and they change." },
  { view: "next", at: ".sliders", title: "Temperature",
    text: "The draw need not follow these probabilities as they are. Below 1, the temperature favours " +
      "likely tokens: the text becomes safer and repeats itself more. Above 1, unlikely tokens get " +
      "a better chance, for surprises as for mistakes." },
  { view: "write", at: ".sheet", title: "Surprise",
    text: "A token that the model held to be unlikely surprises it. Surprise is counted in bits: a " +
      "probability of 1/2 is one bit, 1/1024 is ten. The switch Surprise colours a text by it. " +
      "Training does one thing: it makes the mean surprise over a large text smaller." },
  { view: "walk", at: ".stage", title: "From tokens to numbers", inside: true,
    text: "Inside the model each token becomes a list of numbers, its embedding; a second list says " +
      "at which position it stands. Their sum is what everything else works on. Each coloured cell " +
      "is one of these numbers.",
    bare: { view: "next", at: ".frame", title: "A model without layers",
      text: "This model is a bigram: a table that says, for each token, what follows it. It has no " +
        "layers and no attention, so there is no inside to see. Serve a GPT-2 for the other views." } },
  { view: "attention", title: "Attention", inside: true, measures: true,
    text: ({ n_layer, n_head, found }) => "What a token means depends on those before it. An attention " +
      "head compares each token with the earlier ones and takes something over from each, in shares " +
      `that add up to 1. ${found ? `Of this model’s ${n_layer * n_head} heads, ${found.name} looks most ` +
      `at the token just before: with ${found.percent} % of its attention, on average, in this text.` : ""}` },
  { view: "lens", title: "Layers", inside: true,
    text: ({ n_layer }) => `This model’s layers, ${n_layer} in number, work one after another; each adds to ` +
      "what is known about a token. The logit lens asks after each: if this were the last, what " +
      "would come next? So one sees where the answer comes about." },
  { view: "runs", at: ".checkpoint", title: "Training",
    text: ({ history }) => "At first all numbers of a model are random. Training changes them a little at " +
      "every step so that the loss falls, as the curves of a run show. " + (history.length
      ? "With the slider Checkpoint every view shows the model as it was earlier in its training."
      : "No earlier states of this model were kept. A run with --logging.keep-history 12 keeps some, " +
        "and a slider in the header then goes back to them.") },
  { view: "ablate", title: "Taking parts away", inside: true,
    text: "To learn what a part is good for, take it away and see what is lost. Where the model’s " +
      "answers hardly change, they did not depend on that part, at least not in this text." },
  { view: "walk", at: ".walk", title: "The whole way", inside: true,
    text: "One token on its way through one block: every stage with its formula and this model’s own " +
      "numbers. Choose another token, layer or head above, and point at a cell to follow it down." },
  { view: "write", at: ".tabs", title: "Where to go on",
    text: "Every view is open to any text you type. The address of the page keeps what you look at, " +
      "so that it can be shared. To train a model on a text of your own: minigpt2 train FILE." },
];

/** The steps for a model, as the server describes it. */
export const stepsFor = ({ n_layer }) =>
  STEPS.map((s) => (s.inside && !n_layer ? s.bare && { ...s, ...s.bare } : s)).filter(Boolean);
