import { Frame } from "./frame.jsx";
import { useInspect } from "./inspect.js";
import { Tokens } from "./tokens.jsx";

export function Walk({ model, text }) {
  const look = useInspect(model, text, { view: "walk", layer: 0, position: 0, head: 0 });
  return (
    <Frame name="walk" title="Walk" look={look}
      question="What happens to one token on its way through the model, number by number?"
      legend={<p>Each box is one token of the text.</p>}>
      {look.data && <Tokens tokens={look.data.tokens} />}
    </Frame>
  );
}
