import { Frame } from "./frame.jsx";
import { useInspect } from "./inspect.js";
import { Tokens } from "./tokens.jsx";

export function Next({ model, text }) {
  const look = useInspect(model, text, { view: "next" });
  return (
    <Frame name="next" title="Next token" look={look}
      question="What could come next, and what do the settings leave of it?"
      legend={<p>Each box is one token of the text.</p>}>
      {look.data && <Tokens tokens={look.data.tokens} />}
    </Frame>
  );
}
