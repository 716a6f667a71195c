// What is true of the list on this page: one small state machine. sync.js brings about
// what happens, list.js shows what this says. It asks nobody and keeps nothing, so
// that it can be tested by itself.

import { OtherUser, SignInNeeded, Unreachable } from "./person.js";

/**
 * Where the list stands:
 *   starting     nothing was learnt on this page yet
 *   current      a delta was read to its end, and nothing has failed since
 *   slow         no answer for two seconds, and still waiting
 *   offline      no answer, and the browser says that there is no network
 *   unreachable  no answer from the API, or from the sign-in
 *   cors         the API answers, but the browser keeps its answers from this page
 *   busy         the API asks to wait
 *   broken       an answer that is not the API's, or a failure of its own
 *   refused      the API refuses the token, or the request
 *   sign-in      only the person can go on, by signing in
 * @typedef {"starting" | "current" | "slow" | "offline" | "unreachable" | "cors" | "busy" | "broken" | "refused" | "sign-in"} Kind
 */

/**
 * learned and until are times in ms since 1970, retryAfter is in seconds.
 * @typedef {{kind: Kind, failures: number, learned?: number, host?: string, title?: string, retryAfter?: number, until?: number}} State
 */

/**
 * @typedef {{type: "silent", host?: string}
 *   | {type: "learned", at: number}
 *   | {type: "failed", kind: Kind, at: number, host?: string, title?: string, retryAfter?: number}} Event
 */

/** @type {State} */
export const initial = { kind: "starting", failures: 0 };

/**
 * What follows from an event.
 * @param {State} state
 * @param {Event} event
 * @returns {State}
 */
export function next(state, event) {
  switch (event.type) {
    case "silent":
      return ["starting", "current"].includes(state.kind) ? { ...state, kind: "slow", host: event.host } : state;
    case "learned":
      return { kind: "current", failures: 0, learned: event.at };
    case "failed": {
      const { kind, host, title, retryAfter, at } = event;
      const until = retryAfter === undefined ? undefined : at + retryAfter * 1000;
      return { kind, failures: state.failures + 1, learned: state.learned, host, title, retryAfter, until };
    }
  }
}

/**
 * The event that a run of sync.js, or what kept it from its end, makes; at is in ms.
 * @param {{problem?: {title?: string}, status?: number, retryAfter?: number}} result
 * @param {number} at
 * @returns {Event}
 */
export function eventOf({ problem, status = 0, retryAfter }, at) {
  if (!problem) return { type: "learned", at };
  const kind = retryAfter !== undefined ? "busy" : status >= 500 ? "broken" : "refused";
  return { type: "failed", kind, at, title: problem.title, retryAfter };
}

/**
 * @param {any} error
 * @param {number} at
 * @returns {Event}
 */
export function failureOf(error, at) {
  if (error instanceof Unreachable) return { type: "failed", kind: error.kind, at, host: error.host };
  const signIn = error instanceof SignInNeeded || error instanceof OtherUser;
  // Another user's token came: no trying again by itself.
  const retryAfter = error instanceof OtherUser ? Infinity : undefined;
  return { type: "failed", kind: signIn ? "sign-in" : "broken", at, title: error.message, retryAfter };
}

/** @param {number | undefined} ms */
const clock = (ms) => new Date(ms ?? 0).toLocaleTimeString();

/** @param {State} state */
function sentence({ kind, learned, host, title, until }) {
  const kept = "What you change is kept here and sent later.";
  switch (kind) {
    case "starting":
      return "Looking for changes …";
    case "current":
      return `Up to date at ${clock(learned)}.`;
    case "slow":
      return `No answer from ${host} yet.`;
    case "offline":
      return `Offline. ${kept}`;
    case "unreachable":
      return `${host} does not answer. ${kept}`;
    case "cors":
      return `${host} answers, but not to this page. ${kept}`;
    case "busy":
      return `The API is busy, and is asked again at ${clock(until)}.`;
    case "broken":
    case "refused":
      return `Not up to date: ${title}.`;
    case "sign-in":
      return "Not up to date: please sign in again.";
  }
}

/**
 * The line that the page shows, with the number of changes that wait to be sent.
 * @param {State} state
 * @param {number} waiting
 */
export function says(state, waiting) {
  const wait = waiting === 1 ? "1 change waits to be sent." : `${waiting} changes wait to be sent.`;
  if (state.kind === "current") return waiting ? wait : sentence(state);
  const since = state.learned ? `The list is from ${clock(state.learned)}.` : "";
  return [sentence(state), since, waiting ? wait : ""].filter(Boolean).join(" ");
}

/**
 * What is read out when one state follows another: what concerns people, and no times.
 * @param {State} before
 * @param {State} after
 */
export function spoken(before, after) {
  if (before.kind === after.kind || after.kind === "starting") return "";
  if (after.kind === "current") return ["starting", "slow"].includes(before.kind) ? "" : "Up to date again.";
  return after.kind === "busy" ? "The API is busy, and is asked again later." : sentence(after);
}

/**
 * In how many seconds to look again; Infinity is not before something happens. idle is
 * how long nobody has touched the page, in seconds. A hidden page rests, unless
 * something waits to be sent.
 * @param {State} state
 * @param {{visible: boolean, idle: number, waiting: number}} page
 */
export function pause(state, { visible, idle, waiting }) {
  if (!visible && !waiting) return Infinity;
  if (state.retryAfter !== undefined) return Math.max(1, state.retryAfter);
  switch (state.kind) {
    case "current":
      return idle < 120 ? 30 : idle < 600 ? 60 : 300;
    case "refused":
    case "sign-in":
      return Math.min(300, 5 * 2 ** (state.failures - 1));
    default:
      return Math.min(idle < 600 ? 30 : 120, 2 ** state.failures);
  }
}
