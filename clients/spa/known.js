// What is known of the sign-in's errors: finds one in the catalogue that the doctor has,
// too, signin-errors.json.

import { Unreachable } from "./person.js";

/** @typedef {{code: string, says?: string[], meaning?: string, cause?: string, fix?: string}} Known */

// B2C's "cancelled by the user", and the person's no to what the app asks for.
export const cancelled = /AADB2C90091|AADSTS65004/;
export const forgotten = /AADB2C90118/;

/**
 * @param {Known[]} all
 * @param {string} code the library's, or of OAuth
 * @param {string} message
 * @returns {Known | undefined}
 */
function find(all, code, message) {
  const codes = [...message.matchAll(/AADB2C\d+|AADB2C:|AADSTS\d+/gi)].map(([found]) => found.toUpperCase().replace(":", ""));
  for (const wanted of [...codes, code]) {
    const found = all.find((known) => known.code.toLowerCase() === wanted.toLowerCase());
    if (found) return found;
  }
  return all.find((known) => known.says?.some((words) => message.includes(words)));
}

/**
 * Whether an error is the sign-in's, or its library's, so that the catalogue may have it.
 * @param {string} code
 * @param {string} message
 */
export const isSignIns = (code, message) => Boolean(code) || /AAD(B2C|STS)/.test(message);

/**
 * An error in words that lead on.
 * @param {Known[]} all
 * @param {unknown} error
 * @param {string} code
 * @param {string} message
 * @returns {import("./page.js").Problem}
 */
export function explained(all, error, code, message) {
  const known = isSignIns(code, message) ? find(all, code, message) : undefined;
  return {
    title: known?.meaning ?? (error instanceof Unreachable ? "Signing in does not work now" : "That did not work"),
    detail: known?.cause ?? message,
    fix: known?.fix,
    code: known?.code ?? code,
    instance: /Correlation ID: ([0-9a-f-]{36})/i.exec(message)?.[1],
  };
}
