// What goes wrong at the sign-in, in words that lead on. The codes of the sign-in and of
// MSAL are explained by the catalogue that the doctor has too, signin-errors.json, which
// is fetched when it is first needed.

import * as auth from "./auth.js";
import { cancelled, explained, forgotten, isSignIns } from "./known.js";
import { $, account, guard, notice, showProblem } from "./page.js";

/** @typedef {import("./known.js").Known} Known */

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
  const code = error.errorCode ?? "";
  if (code === underWay) {
    const detail = "It was left and has not ended, by Back perhaps, or goes on in another window.";
    return showProblem({ ...problem, title: "A sign-in has begun already", detail, code, actions: leads(error) });
  }
  showProblem({
    ...problem,
    ...explained(isSignIns(code, message) ? await all() : [], error, code, message),
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

function all() {
  catalogue ??= fetch("signin-errors.json").then((answer) => (answer.ok ? answer.json() : []));
  return catalogue.catch(() => {
    catalogue = undefined; // and asked for again
    return /** @type {Known[]} */ ([]);
  });
}
