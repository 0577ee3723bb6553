// What this tab keeps over a reload, and forgets when it is closed. Storage may be forbidden.

export function kept(name) {
  try {
    return sessionStorage.getItem(`minigpt2.${name}`);
  } catch {
    return null;
  }
}

export function keep(name, value) {
  try {
    sessionStorage.setItem(`minigpt2.${name}`, value);
  } catch {
    // Then it is asked for again.
  }
}
