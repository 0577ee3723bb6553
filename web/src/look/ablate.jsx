import { Frame } from "./frame.jsx";
import { useInspect } from "./inspect.js";
import { Tokens } from "./tokens.jsx";

export function Ablate({ model, text }) {
  const look = useInspect(model, text, { view: "contributions" });
  return (
    <Frame name="ablate" title="Ablate and attribute" look={look}
      question="Which parts of the model is its answer made of, and what is lost without them?"
      legend={<p>Each box is one token of the text.</p>}>
      {look.data && <Tokens tokens={look.data.tokens} />}
    </Frame>
  );
}
