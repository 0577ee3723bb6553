// The dialog that asks for the server's token, when the server wants one.
import { useEffect, useRef, useState } from "preact/hooks";
import { page } from "./api.js";
import { kept } from "./kept.js";

export function TokenDialog() {
  const [dialog, field] = [useRef(), useRef()];
  const [refused, setRefused] = useState(false);
  useEffect(() => {
    page.askForToken = () => {
      setRefused(Boolean(kept("token")));
      dialog.current.returnValue = field.current.value = "";
      dialog.current.showModal();
      const answer = () => (dialog.current.returnValue ? field.current.value.trim() : null);
      return new Promise((resolve) => (dialog.current.onclose = () => resolve(answer())));
    };
  }, []);
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="token-title">
      <form method="dialog">
        <h2 id="token-title">This server asks for a token</h2>
        <p>{refused ? "The one it was given is not the right one." : "It was set at the server’s start."}</p>
        <label for="token">Token</label>
        <input id="token" ref={field} type="password" autocomplete="off" required />
        <p class="small">It is kept until this tab is closed, and nowhere else.</p>
        <div class="row">
          <button type="button" onClick={() => dialog.current.close()}>Cancel</button>
          <button class="primary" value="use">Use it</button>
        </div>
      </form>
    </dialog>
  );
}
