// State of a view that stands in the page's address, so that a bookmark brings it back.
import { useState } from "preact/hooks";
import { address, setAddress } from "../address.js";

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
