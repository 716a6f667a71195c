// What goes wrong at the sign-in, in words that lead on. The codes of the sign-in and of
// MSAL are explained by the catalogue that the doctor has too, signin-errors.json, which
// is fetched when it is first needed.

import * as auth from "./auth.js";
import { $, account, guard, notice, showProblem } from "./page.js";

/** @typedef {{code: string, says?: string[], meaning?: string, cause?: string, fix?: string}} Known */

// B2C's "cancelled by the user", the person's no to what the app asks for, and a window that was closed.
const cancelled = /AADB2C90091|AADSTS65004/;
const forgotten = /AADB2C90118/;
// MSAL's, of a page that was left and came back; the catalogue explains it to who writes an app.
const underWay = "interaction_in_progress";

/**
 * Shows what went wrong, and what leads on. Who forgot their password goes to the policy
 * for that, and a cancelled sign-in is not an error.
 * @param {any} error
 * @param {{of?: string, close?: () => unknown}} problem
 */
export async function explain(error, problem) {
  const message = String(error.errorMessage || error.message || error);
  if (error.errorCode === "user_cancelled" || cancelled.test(message)) {
    if (account) notice("cancelled", "Cancelled. Nothing has changed.");
    else $("farewell").textContent = "The sign-in was cancelled. Nothing has changed.";
    return;
  }
  if (forgotten.test(message) && auth.canReset()) return auth.resetPassword();
  if (error.errorCode === underWay) {
    const detail = "It was left and has not ended, by Back perhaps, or goes on in another window.";
    return showProblem({ ...problem, title: "A sign-in has begun already", detail, code: underWay, actions: leads(error) });
  }
  const known = error.errorCode || /AAD(B2C|STS)/.test(message) ? await find(error.errorCode ?? "", message) : undefined;
  const correlation = /Correlation ID: ([0-9a-f-]{36})/i.exec(message)?.[1];
  showProblem({
    ...problem,
    title: known?.meaning ?? (error instanceof auth.Unreachable ? "Signing in does not work now" : "That did not work"),
    detail: known?.cause ?? message,
    fix: known?.fix,
    code: [known?.code ?? error.errorCode, correlation].filter(Boolean).join(" · "),
    actions: leads(error),
    stays: !account && $("signed-out").hidden, // there is nothing behind it
  });
}

/** @param {any} error */
function leads(error) {
  if (!account && $("signed-out").hidden) return [{ text: "Try again", go: () => location.reload() }];
  if (error.errorCode === underWay) return [{ text: "Start over", go: () => location.reload() }];
  if (!error.errorCode) return [];
  if (account) {
    const who = account;
    return [{ text: `Sign in again as ${who.name}`, go: () => auth.signInAgain(who, { ask: true }) }];
  }
  return [{ text: "Sign in on this page", go: () => guard(auth.signIn) }];
}

/** @type {Promise<Known[]> | undefined} */
let catalogue;

/**
 * @param {string} code MSAL's
 * @param {string} message
 * @returns {Promise<Known | undefined>}
 */
async function find(code, message) {
  catalogue ??= fetch("signin-errors.json").then((answer) => (answer.ok ? answer.json() : []));
  const all = await catalogue.catch(() => {
    catalogue = undefined; // and asked for again
    return /** @type {Known[]} */ ([]);
  });
  const codes = [...message.matchAll(/AADB2C\d+|AADB2C:|AADSTS\d+/gi)].map(([found]) => found.toUpperCase().replace(":", ""));
  for (const wanted of [...codes, code]) {
    const found = all.find((known) => known.code.toLowerCase() === wanted.toLowerCase());
    if (found) return found;
  }
  return all.find((known) => known.says?.some((words) => message.includes(words)));
}
