// The page's state in its address, behind the #: a reload or a bookmark brings it back.
// Values are text here; who reads them checks them. Nothing secret is ever put in.
import { useState } from "preact/hooks";

let [state, timer] = [{}, null];

const given = (values) => Object.fromEntries(Object.entries(values).filter(([, v]) => v != null));
const read = () => (state = Object.fromEntries(new URLSearchParams(location.hash.slice(1))));

export const address = () => state;

/** Put values into the address, which shows them a little later; null takes one out. */
export function setAddress(values) {
  state = given({ ...state, ...values });
  clearTimeout(timer);
  timer = setTimeout(show, 200); // browsers refuse too many changes in a short time
}

/** The address as it would be with other values. */
export const addressWith = (values) => `#${new URLSearchParams(given({ ...state, ...values }))}`;

const show = () => history.replaceState(null, "", addressWith({}));

read();
addEventListener("hashchange", read); // by hand; our own changes tell nobody
addEventListener("pagehide", show);

/** The address's values by name, for a view to check, and a function that changes some of them. */
export function useAddressed() {
  const [values, setValues] = useState(address);
  return [values, (some) => (setAddress(some), setValues((old) => ({ ...old, ...some })))];
}

/** A value of the address as an index into `size` things; `otherwise` if it is none. */
export function indexOf(value, size, otherwise = 0) {
  const index = Number(value ?? NaN);
  return Number.isInteger(index) && index >= 0 && index < size ? index : otherwise;
}
