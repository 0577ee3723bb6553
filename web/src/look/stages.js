// The way through one block, stage by stage: on the residual stream, off it, or what is added to it;
// its name, its formula (_{below} and ^{above}), what is drawn, and what happens in plain words.
const NORM = "(x − mean x) / √(var x + ε) · w + b";

/** The stages for a head of a layer, a position, D = `size`, and the number of neurons. */
export function stagesOf({ layer, head, layers, position, size, neurons }) {
  const [name, left] = [`L${layer}H${head}`, layers - 1 - layer];
  return [
    ["on", "Embedding", `x = wte[token] + wpe[${position}]`, "embed pos_embed",
      "A learned list of numbers for which token it is, one for where it stands, and their sum."],
    ["on", `Residual stream before block ${layer}`, `resid_pre = x${layer ? " + all added so far" : ""}`,
      "resid_pre", "What the model holds about this token. Each part reads these numbers and adds to them."],
    ["off", "LayerNorm", `ln1 = ${NORM}`, "ln1",
      "The numbers are brought to a common size, so that no part has to cope with very large ones."],
    ["off", `Query, key and value of head ${name}`, "q = ln1 W_{q} + b_{q}, and so k and v", "q k v",
      "What this token looks for, what later tokens find it by, and what it hands over to them."],
    ["off", "Attention scores", `score_{j} = q · k_{j} / √${size}, for j ≤ ${position}`, "keys scores",
      "The query is compared with the key of every token up to this one. Later ones are out of sight."],
    ["off", "Attention pattern", "pattern_{j} = exp score_{j} / Σ_{i} exp score_{i}", "pattern looked",
      "The softmax turns scores into shares of one whole: how much this head looks at each token."],
    ["off", "What is gathered", "z = Σ_{j} pattern_{j} v_{j}", "values z",
      "The values of those tokens, mixed in these shares."],
    ["off", "Output", "result = z W_{o}; attn_out = Σ_{heads} result + b_{o}", "result attn_out",
      `What head ${name} writes, and what all heads of layer ${layer} write together.`],
    ["added", "Added to the stream", "resid_mid = resid_pre + attn_out", "resid_mid",
      "Nothing is replaced: what attention found is added to what was there."],
    ["off", "LayerNorm", `ln2 = ${NORM}`, "ln2",
      "The same again, with weights of its own, before the second half of the block."],
    ["off", "MLP, first map (c_fc)", "pre = ln2 W_{fc} + b_{fc}", "pre",
      `Each of ${neurons.toLocaleString("en")} neurons measures these numbers in a way of its own.`],
    ["off", "GELU", "post = ½ pre (1 + tanh(√(2/π) (pre + 0.044715 pre^{3})))", "post active",
      "Large positive numbers pass almost unchanged; large negative ones become almost nothing."],
    ["off", "MLP, second map (c_proj)", "mlp_out = post W_{proj} + b_{proj}", "mlp_out",
      "What the neurons write, each as strongly as it is active."],
    ["added", `Residual stream after block ${layer}`, "resid_post = resid_mid + mlp_out", "resid_post",
      left ? `This is what block ${layer + 1} reads.` : "This is what the model’s answer is read from."],
    ["on", "The model’s answer", `p = softmax(ln_f(x) · wte^{T}), x after block ${layers - 1}`, "next",
      `${["", "One more block"][left] ?? `${left} more blocks`}${left ? ", then a" : "A"} last LayerNorm, and a ` +
      "comparison with the embedding of every token. These five are likeliest to come next."],
  ];
}

/** [what, text] of a formula's pieces: in line, below or above it. */
export const piecesOf = (formula) =>
  formula.split(/([_^]\{[^}]*\})/).map((piece) =>
    /^[_^]\{/.test(piece) ? [piece[0] === "_" ? "sub" : "sup", piece.slice(2, -1)] : ["span", piece]);
