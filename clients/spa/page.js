// The page's frame, which every view uses: its elements, its messages and its focus,
// and who is told when something goes wrong.

/** @typedef {import("./auth.js").Person} Person */
/** @typedef {{text: string, go: () => unknown}} Action */
/**
 * A problem document, or what has its form; actions lead on, close is done when the
 * person has read it, and of names who takes it away again. With stays it cannot be closed.
 * @typedef {{title?: string, detail?: string, fix?: string, code?: string, instance?: string, status?: number,
 *   retryAfter?: number, erasedAt?: string, errors?: {pointer: string, detail?: string, code?: string}[],
 *   of?: string, actions?: Action[], stays?: boolean, close?: () => unknown}} Problem
 */

/**
 * The element with this ID, which says what kind it is.
 * @param {string} id
 * @returns {any}
 */
export const $ = (id) => document.getElementById(id);

/**
 * Makes an element.
 * @param {string} tag
 * @param {object} [properties]
 * @param {(Node | string | null | undefined)[]} children
 * @returns {any}
 */
export function element(tag, properties = {}, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children.filter((child) => child != null));
  return e;
}

/**
 * Makes a button; label is its name where the text alone does not say enough.
 * @param {string} text
 * @param {() => unknown} onclick
 * @param {string} [label]
 * @returns {any}
 */
export function button(text, onclick, label) {
  const b = element("button", { type: "button", textContent: text, onclick: () => guard(onclick) });
  if (label) b.setAttribute("aria-label", label);
  return b;
}

// ---- whose page it is, and what goes wrong ----------------------------------------

/** @type {Person | null} */
export let account = null;

/** @param {Person | null} who */
export function belongsTo(who) {
  account = who;
}

/** @type {(error: any, of?: string, close?: () => unknown) => any} */
let failed = () => {};

/**
 * Has an error shown; of and close are the problem's.
 * @param {any} error
 * @param {string} [of]
 * @param {() => unknown} [close]
 */
export const fail = (error, of, close) => failed(error, of, close);

/**
 * Says what is to be done with an error of guard.
 * @param {typeof failed} handle
 */
export const onFailure = (handle) => (failed = handle);

/**
 * Does something, and has it shown what goes wrong.
 * @param {() => any} work
 * @returns {Promise<any>}
 */
export async function guard(work) {
  const whose = account;
  try {
    return await work();
  } catch (error) {
    if (whose && account !== whose) return; // it was cut off
    await failed(error);
  }
}

// ---- messages -------------------------------------------------------------------

/** @type {Problem | null} */
let problemShown = null;

/**
 * Takes away the problem, if it is of this one.
 * @param {string} of
 */
export function hideProblem(of) {
  if (problemShown?.of === of) showProblem(null);
}

/**
 * Shows a problem in its own words, or hides it. The same one is not told again, but
 * for who it happened to.
 * @param {Problem | null} problem
 */
export function showProblem(problem) {
  /** @param {Problem | null} which */
  const words = (which) => which && [which.title, which.detail, which.code].join("\n");
  const same = words(problem) === words(problemShown);
  problemShown = problem;
  if (same) return;
  const { title = "", detail = "", fix, code, instance, actions = [], stays, close } = problem ?? {};
  $("problem").hidden = !problem;
  $("problem-title").textContent = title;
  $("problem-detail").textContent = detail;
  $("problem-fix").textContent = fix ? `What to do: ${fix}` : "";
  $("problem-code").textContent = [code, instance].filter(Boolean).join(" · ");
  const shut = button("Close", () => {
    showProblem(null);
    return close?.();
  });
  shut.className = "plain";
  shut.hidden = Boolean(stays);
  $("problem-actions").replaceChildren(...actions.map(({ text, go }) => button(text, go)), shut);
}

/**
 * Tells something that is not a problem, until it is dismissed or told otherwise; each
 * kind of notice is there once. Without a text it is taken away.
 * @param {string} kind
 * @param {string} [text]
 * @param {Action[]} [actions]
 */
export function notice(kind, text, actions = []) {
  const there = [...$("notices").children].find((p) => p.dataset.kind === kind);
  if (!text) return there?.remove();
  const buttons = actions.map(({ text, go }) =>
    button(text, () => {
      notice(kind);
      return go();
    }),
  );
  const p = element("p", {}, element("span", { textContent: text, dir: "auto" }), ...buttons, button("Dismiss", () => notice(kind)));
  p.dataset.kind = kind;
  if (there) there.replaceWith(p);
  else $("notices").append(p);
}

/** @param {string} text is read out, and not shown */
export const speak = (text) => ($("spoken").textContent = text);

const name = document.title;

/** @param {string} [view] what stands before the app's name in the title */
export const titled = (view) => (document.title = view ? `${view} – ${name}` : name);
