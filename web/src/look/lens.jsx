import { Frame } from "./frame.jsx";
import { useInspect } from "./inspect.js";
import { Tokens } from "./tokens.jsx";

export function Lens({ model, text }) {
  const look = useInspect(model, text, { view: "lens" });
  return (
    <Frame name="lens" title="Logit lens" look={look}
      question="What would the model say next if it stopped after each layer?"
      legend={<p>Each box is one token of the text.</p>}>
      {look.data && <Tokens tokens={look.data.tokens} />}
    </Frame>
  );
}
