// How the page asks while things change: a little later, only for the newest, never for the past.

/**
 * Do `work(signal)` in so many ms, and tell `done` what came of it or `failed` what went wrong. What
 * is returned calls it off, whether it waits or runs: then neither is told.
 */
export function later(ms, work, done, failed) {
  const controller = new AbortController();
  const { signal } = controller;
  const unlessCalledOff = (tell) => (value) => signal.aborted || tell(value);
  const timer = setTimeout(() => work(signal).then(unlessCalledOff(done), unlessCalledOff(failed)), ms);
  return () => {
    clearTimeout(timer);
    controller.abort();
  };
}
