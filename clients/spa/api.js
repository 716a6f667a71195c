// Calls the API. What it refuses comes back as the problem document that it sent.

import * as auth from "./auth.js";

/** Where the items are. */
export const collection = "/api/items";

let base;

export function start(config) {
  base = config.api;
}

/**
 * Sends a request for the person and returns {status, data, problem}; problem is null
 * if it went well. path starts with /api/, as in the API's links. body is text.
 */
export async function call(who, method, path, { headers = {}, body, token } = {}) {
  let answer = await send(who, method, path, headers, body, token ?? (await auth.token(who)));
  if (answer.status === 401 && !token) {
    // Expired on the way, or the tenant has changed its keys: once more with a new one.
    answer = await send(who, method, path, headers, body, await auth.token(who, { fresh: true }));
  }
  return answer;
}

/**
 * Decodes a token of the person, without checking its signature, which is the API's
 * work; somebody else's is refused.
 */
export function claimsOf(who, token) {
  const [, payload] = token.split(".");
  const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const claims = JSON.parse(new TextDecoder().decode(bytes));
  if (auth.ownerOf(claims) !== who.owner) throw new auth.OtherUser(who, claims.name);
  return claims;
}

async function send(who, method, path, headers, body, token) {
  claimsOf(who, token);
  const all = { Authorization: `Bearer ${token}`, ...headers };
  if (body !== undefined) all["Content-Type"] ??= "application/json";
  let response, text;
  try {
    const { signal } = who.session;
    response = await fetch(new URL(path, base), { method, headers: all, body, cache: "no-store", signal });
    text = await response.text();
  } catch (cause) {
    throw new auth.Unreachable(`No answer from ${new URL(base).host}.`, { cause });
  }
  const type = response.headers.get("Content-Type") ?? "";
  if (type.startsWith("application/problem+json")) return { status: response.status, data: null, problem: JSON.parse(text) };
  if (response.ok) return { status: response.status, data: JSON.parse(text), problem: null };
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
