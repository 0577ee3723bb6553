import { Frame } from "./frame.jsx";
import { useInspect } from "./inspect.js";
import { Tokens } from "./tokens.jsx";

export function Attention({ model, text }) {
  const look = useInspect(model, text, { view: "attention" });
  return (
    <Frame name="attention" title="Attention" look={look}
      question="Which earlier tokens does each head look at?"
      legend={<p>Each box is one token of the text.</p>}>
      {look.data && <Tokens tokens={look.data.tokens} />}
    </Frame>
  );
}
