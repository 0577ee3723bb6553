/** A text with the facts that it names put in: "{n_layer} layers" is "4 layers". */
export const filled = (text, facts) => text.replace(/\{(\w+)\}/g, (_, name) => facts[name]);
