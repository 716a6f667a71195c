// Keeps the list true while the page is open: learns and sends (sync.js) when it is
// time to, and shows where it stands (state.js). A hidden page rests, and one that
// nobody touches looks less often.

import * as api from "./api.js";
import { Unreachable } from "./auth.js";
import { $, account, fail, hideProblem, notice, showProblem, speak } from "./page.js";
import { eventOf, failureOf, initial, next, pause, says, spoken } from "./state.js";
import * as store from "./store.js";
import * as sync from "./sync.js";
import * as view from "./view.js";

/** @typedef {import("./page.js").Problem} Problem */

let state = initial;
/** @type {Promise<void> | null} */
let running = null;
let syncing = false;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let touched = Date.now();
let closed = ""; // the code of the problem that the person has closed, until it is over

/** @type {() => Promise<void>} */
let render = async () => {};
/** @type {() => boolean} */
let stillSignedIn = () => true;

/**
 * Begins for the person of the page.
 * @param {{render: typeof render, stillSignedIn: typeof stillSignedIn}} page
 */
export function start(page) {
  ({ render, stillSignedIn } = page);
  [state, closed] = [initial, ""];
  showState();
}

export const stop = () => clearTimeout(timer);

/** What is under way ends first, where another person's page follows. */
export const rest = () => running?.catch(() => {});

/** @param {import("./state.js").Event} event */
function happened(event) {
  const before = state;
  state = next(state, event);
  const said = spoken(before, state);
  if (said) speak(said);
  showState();
}

/** Shows where the list stands, with what waits. */
export function showState() {
  const text = says(state, view.waiting());
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").dataset.state = state.kind;
}

/** Another tab has learnt what there is, as of that time in ms. */
export function learned(/** @type {number} */ at) {
  if (!syncing) happened({ type: "learned", at });
  hideProblem("list");
  schedule();
}

/** Learns and sends; several calls at once are one, and one more. */
export function look() {
  if (!account) return Promise.resolve();
  running = (running ?? Promise.resolve()).then(once, once);
  return running;
}

async function once() {
  const whose = account;
  if (!whose || !stillSignedIn()) return;
  clearTimeout(timer);
  syncing = true;
  const silence = setTimeout(silent, 2000, api.host()); // or another tab's turn lasts
  try {
    const result = await sync.run(() => clearTimeout(silence));
    if (account !== whose) return;
    took(result);
  } catch (/** @type {any} */ error) {
    if (account !== whose) return;
    await broke(error);
  } finally {
    clearTimeout(silence);
    syncing = false;
  }
  if (account !== whose) return;
  await render();
  schedule();
}

/** @param {string} host */
function silent(host) {
  if (syncing) happened({ type: "silent", host });
}
api.onSilence(silent);

/** @param {Awaited<ReturnType<typeof sync.run>>} result */
function took(result) {
  const { problem, status = 0, dropped } = result;
  const at = Date.now();
  happened(eventOf(result, at));
  if (!problem) {
    store.tell({ learned: at });
    closed = "";
    const erased = erasure(dropped);
    if (!erased) return hideProblem("list");
    notice("deleted"); // there is nothing to undo
    return showProblem(erased);
  }
  const { code = "" } = problem;
  if (status === 429) return hideProblem("list"); // it waits as it was told to
  if (code === closed) return;
  showProblem({ ...problem, of: "list", close: () => void (closed = code), actions: cures(problem) });
}

/**
 * What the person can do about a refusal.
 * @param {Problem} problem
 */
function cures({ code = "", status }) {
  const again = async (/** @type {object} */ how) => {
    const { signInAgain } = await import("./auth.js");
    return account && signInAgain(account, how);
  };
  if (code.startsWith("scope.")) return [{ text: "Sign in again and ask for it", go: () => again({ consent: true }) }];
  if (status === 401) return [{ text: `Sign in again as ${account?.name}`, go: () => again({ ask: true }) }];
  return [];
}

/** @param {any} error */
async function broke(error) {
  happened(failureOf(error, Date.now()));
  if (error instanceof Unreachable) {
    if (error.kind !== "cors") return hideProblem("list");
    if (closed === "cors") return;
    return showProblem({
      title: `${error.host} answers, but not to this page`,
      detail: `The browser keeps its answers from this page: they came without the CORS headers that name ${location.origin}. The error page of a proxy, such as a 502, lacks them, too.`,
      fix: `Add ${location.origin} to the API's CORS. Portal: Function App > API > CORS; locally Host.CORS in local.settings.json. Who answers, and how, is told by: go run ./scripts/doctor -url URL.`,
      code: "cors",
      of: "list",
      close: () => void (closed = "cors"),
    });
  }
  if (error.constructor.name !== closed) await fail(error, "list", () => (closed = error.constructor.name));
}

/**
 * @param {{count: number, erasedAt: string} | undefined} dropped
 * @returns {Problem | null}
 */
function erasure(dropped) {
  if (!dropped) return null;
  const { count, erasedAt } = dropped;
  const [changes, were] = count === 1 ? ["1 change", "was"] : [`${count} changes`, "were"];
  const detail = `That was done elsewhere, at ${new Date(erasedAt).toLocaleString()}. ${changes} made here before then had not been sent, and ${were} dropped.`;
  return { title: "Your items were erased", detail, close: sync.told };
}

// ---- when to look again -------------------------------------------------------------

const visible = () => document.visibilityState === "visible";

function schedule() {
  clearTimeout(timer);
  if (!account) return;
  const idle = (Date.now() - touched) / 1000;
  const seconds = pause(state, { visible: visible(), idle, waiting: view.waiting() });
  if (seconds < Infinity) timer = setTimeout(look, seconds * 1000);
}

function touch() {
  const idle = Date.now() - touched;
  touched = Date.now();
  if (idle > 120_000) look();
}
for (const event of ["pointerdown", "keydown", "wheel"]) addEventListener(event, touch, { passive: true });
addEventListener("online", look);
document.addEventListener("visibilitychange", () => (visible() ? look() : schedule()));
