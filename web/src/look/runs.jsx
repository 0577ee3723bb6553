import { runs } from "../api.js";
import { Frame } from "./frame.jsx";
import { useAnswer } from "./inspect.js";

export function Runs() {
  const look = useAnswer("runs", runs);
  return (
    <Frame name="runs" title="Runs" look={look}
      question="How did the training runs on this machine go?"
      legend={<p>Lower loss is better.</p>}>
      <ul>{look.data?.runs.map(({ name }) => <li key={name}>{name}</li>)}</ul>
    </Frame>
  );
}
