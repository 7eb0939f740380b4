// When to try again.

const LONGEST_WAIT_MS = 30_000; // a server that is back is found again within half a minute
const SPREAD = 0.25; // waits grow by up to a quarter at random, so that a thousand clients do not come back at once
const FOR_NOW = new Set([408, 425, 429]);

/**
 * Milliseconds until the next try: doubled with each failure in a row, never before the server wants it.
 * @param {number} firstMs
 * @param {number} failures in a row, at least 1
 * @param {number} askedMs of the server's Retry-After, 0 without one
 * @param {number} chance in [0, 1)
 */
export function pauseMs(firstMs, failures, askedMs, chance) {
  const pause = Math.min(firstMs * 2 ** Math.min(failures - 1, 16), LONGEST_WAIT_MS);
  return Math.max(pause * (1 + SPREAD * chance), askedMs);
}

/** Whether a refusal with this status may be another answer later. */
export function isForNow(status) {
  return status >= 500 || FOR_NOW.has(status);
}

/** What an answer's Retry-After asks for. A date is not read: Twofold sends seconds. */
export function retryAfterMs(headers) {
  const text = headers.get("retry-after") ?? "";
  return /^[0-9]+$/.test(text) ? Number(text) * 1000 : 0;
}

/** Resolves after so long, or as soon as the signal says so. */
export function pause(ms, signal) {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
