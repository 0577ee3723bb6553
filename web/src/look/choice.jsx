// One of a few, side by side; no two on a page have one label. `options` is {value: its name}.
export const Choice = ({ label, options, value, choose }) => (
  <fieldset class="choice">
    <legend>{label}</legend>
    {Object.entries(options).map(([each, called]) => (
      <label key={each}>
        <input type="radio" name={label} checked={each === value} onChange={() => choose(each)} /> {called}
      </label>
    ))}
  </fieldset>
);
