/** What went wrong, and what can be done about it. */
export const Notice = ({ text, label, act }) => (
  <div class="notice spread" role="alert">
    <span>{text}</span>
    {act && <button onClick={act}>{label}</button>}
  </div>
);
