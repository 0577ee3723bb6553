// The dialog that asks for the server's token, when the server wants one.
import { useEffect, useRef, useState } from "preact/hooks";
import { onTokenWanted } from "./api.js";
import { kept } from "./kept.js";

export function TokenDialog() {
  const dialog = useRef();
  const answer = useRef(() => {});
  const [refused, setRefused] = useState(false);
  useEffect(() => {
    onTokenWanted(() => {
      setRefused(Boolean(kept("token")));
      dialog.current.showModal();
      return new Promise((resolve) => (answer.current = resolve));
    });
  }, []);
  const close = (token) => {
    answer.current(token);
    dialog.current.close();
  };
  const submit = (event) => {
    event.preventDefault(); // nothing is sent anywhere by the form itself
    close(event.target.elements.token.value.trim() || null);
    event.target.reset();
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="token-title" onCancel={() => close(null)}>
      <form onSubmit={submit}>
        <h2 id="token-title">This server asks for a token</h2>
        <p>{refused ? "The one it was given is not the right one." : "It was set when the server started."}</p>
        <label for="token">Token</label>
        <input id="token" name="token" type="password" autocomplete="off" required />
        <p class="small">It is kept until this tab is closed, and nowhere else.</p>
        <div class="row">
          <button type="button" onClick={() => close(null)}>Cancel</button>
          <button class="primary">Use it</button>
        </div>
      </form>
    </dialog>
  );
}
