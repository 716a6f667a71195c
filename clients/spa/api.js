// Calls the API. What it refuses comes back as the problem document that it sent.

import * as auth from "./auth.js";
import * as json from "./json.js";

/** @typedef {import("./auth.js").Person} Person */
/** @typedef {import("./page.js").Problem} Problem */
/**
 * Either data, or a problem.
 * @typedef {{status: number, data: any, problem: null} | {status: number, data: null, problem: Problem}} Answer
 */

/** Where the items are. */
export const collection = "/api/items";

const patience = 30_000; // ms, after which no answer will come: the API gives up sooner

/** @type {string} */
let base;

/** @param {import("./auth.js").Config} config */
export function start(config) {
  base = config.api;
}

export const host = () => new URL(base).host;

/** @type {(host: string) => void} */
let silent = () => {};

/**
 * Has somebody told when an answer lets wait for two seconds.
 * @param {typeof silent} listener
 */
export const onSilence = (listener) => (silent = listener);

/**
 * @template T
 * @param {string} host who is to answer
 * @param {Promise<T>} answer
 */
async function awaited(host, answer) {
  const timer = setTimeout(silent, 2000, host);
  try {
    return await answer;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param {Person} who
 * @param {{fresh?: boolean}} [how]
 */
const tokenOf = (who, how) => awaited(auth.host(), auth.token(who, how));

/**
 * Sends a request for the person. path starts with /api/, as in the API's links; body
 * is text.
 * @param {Person} who
 * @param {string} method
 * @param {string} path
 * @param {{headers?: Record<string, string>, body?: string, token?: string}} [request]
 * @returns {Promise<Answer>}
 */
export async function call(who, method, path, { headers = {}, body, token } = {}) {
  let answer = await send(who, method, path, headers, body, token ?? (await tokenOf(who)));
  if (answer.status === 401 && !token) {
    // Expired on the way, or the tenant has changed its keys: once more with a new one.
    answer = await send(who, method, path, headers, body, await tokenOf(who, { fresh: true }));
  }
  return answer;
}

/**
 * Decodes a token of the person; somebody else's is refused.
 * @param {Person} who
 * @param {string} token
 */
export function claimsOf(who, token) {
  const claims = auth.decoded(token);
  if (auth.ownerOf(claims) !== who.owner) throw new auth.OtherUser(who, claims.name);
  return claims;
}

/**
 * @param {Person} who
 * @param {string} method
 * @param {string} path
 * @param {Record<string, string>} headers
 * @param {string | undefined} body
 * @param {string} token
 * @returns {Promise<Answer>}
 */
async function send(who, method, path, headers, body, token) {
  claimsOf(who, token);
  /** @type {Record<string, string>} */
  const all = { Authorization: `Bearer ${token}`, ...headers };
  if (body !== undefined) all["Content-Type"] ??= "application/json";
  let response, text;
  try {
    const signal = AbortSignal.any([who.session.signal, AbortSignal.timeout(patience)]);
    response = await awaited(host(), fetch(new URL(path, base), { method, headers: all, body, cache: "no-store", signal }));
    text = await response.text();
  } catch (/** @type {any} */ cause) {
    if (who.session.signal.aborted) throw cause;
    throw new auth.Unreachable(cause.name === "TimeoutError" ? "unreachable" : await reason(), host(), { cause });
  }
  try {
    const type = response.headers.get("Content-Type") ?? "";
    if (type.startsWith("application/problem+json")) return { status: response.status, data: null, problem: json.parse(text) };
    if (response.ok) return { status: response.status, data: json.parse(text), problem: null };
  } catch {
    // cut off, or a page of something between: it is not the API's
  }
  return {
    status: response.status,
    data: null,
    problem: {
      title: `The answer was ${response.status}, and not from the API`,
      detail: `Something between this page and the API said: ${text.slice(0, 200) || "nothing"}`,
      fix: "Look at who answers at this address: go run ./scripts/doctor -url URL.",
      code: String(response.status),
    },
  };
}

/**
 * Why no answer could be read, as far as a browser tells. An answer without the right
 * CORS headers is kept from the page like no answer at all, but one that need not be
 * readable arrives.
 * @returns {Promise<"offline" | "unreachable" | "cors">}
 */
async function reason() {
  /** @param {RequestMode} mode */
  const answers = (mode) =>
    fetch(new URL("/api/openapi.json", base), { method: "HEAD", mode, cache: "no-store", signal: AbortSignal.timeout(5000) }).then(
      () => true,
      () => false,
    );
  if (await answers("cors")) return "unreachable"; // it was cut off on the way
  if (await answers("no-cors")) return "cors";
  return navigator.onLine ? "unreachable" : "offline";
}
