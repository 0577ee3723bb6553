// What this tab keeps over a reload and forgets when it is closed. Where storage is forbidden, it
// is kept until the reload.
const memory = {};

/** A value that was kept, or null. */
export function kept(name) {
  try {
    return JSON.parse(sessionStorage.getItem(`minigpt2.${name}`));
  } catch {
    return memory[name] ?? null;
  }
}

export function keep(name, value) {
  memory[name] = value;
  try {
    sessionStorage.setItem(`minigpt2.${name}`, JSON.stringify(value));
  } catch {} // full, or forbidden
}
