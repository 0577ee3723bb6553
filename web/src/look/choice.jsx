// One of a few, side by side: radio buttons that look like one. `options` is {value: its name}.
import { useId } from "preact/hooks";

export function Choice({ label, options, value, choose }) {
  const name = useId();
  return (
    <fieldset class="choice">
      <legend>{label}</legend>
      {Object.entries(options).map(([each, called]) => (
        <label key={each}>
          <input type="radio" name={name} checked={each === value} onChange={() => choose(each)} />
          {called}
        </label>
      ))}
    </fieldset>
  );
}
