// The page's state in its address, behind the #: a reload or a bookmark brings it back.
// Values are text here; who reads them checks them. Nothing secret is ever put in.

export const readAddress = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

let timer = null;
let next = {};

/** Put values into the address a little later; null takes one out. */
export function writeAddress(values) {
  Object.assign(next, values);
  clearTimeout(timer);
  timer = setTimeout(writeNow, 200); // browsers refuse too many changes in a short time
}

function writeNow() {
  const state = new URLSearchParams({ ...readAddress(), ...next });
  for (const [name, value] of Object.entries(next)) if (value == null) state.delete(name);
  next = {};
  history.replaceState(null, "", `#${state}`);
}

addEventListener("pagehide", writeNow);
