// A change of an item that the server refused: what is said of it, and what can be done.

import * as content from "./content.js";
import * as sync from "./sync.js";

/** @typedef {import("./sync.js").Item} Item */

/** @typedef {{text: string, go?: () => Promise<unknown>}} Choice */

/** What is said of a change that was not sent yet. */
export const waits = { create: "Waits to be sent", change: "Your change waits to be sent", delete: "Waits to be deleted" };

/** @param {Item} which */
const inWords = (which) => `“${content.title(which)}”${content.details(which) ? ` with ${content.details(which)}` : ""}`;

/**
 * What to say, and the choices that there are; the one without go opens the editor.
 * @param {Item} item
 * @param {import("./sync.js").Entry} entry
 * @returns {{title: string, words: string[], fix?: string, choices: Choice[]}}
 */
export function refusal(item, entry) {
  const { problem = {}, theirs, op } = entry;
  const drop = () => sync.drop(entry);
  if (!["item.changed", "item.not_found", "item.deleted"].includes(problem.code ?? "")) {
    const words = [problem.detail ?? "", ...(problem.errors ?? []).map((e) => `${e.pointer}: ${e.detail}`)];
    const choices = [{ text: "Try again", go: () => sync.retry(entry) }, { text: "Discard", go: drop }];
    return { title: problem.title ?? "", words, fix: problem.fix, choices: op === "delete" ? choices : [{ text: "Edit" }, ...choices] };
  }
  const mine = op === "delete" ? "You deleted it." : `You made it ${inWords(item)}.`;
  if (theirs) {
    const choices = [{ text: "Keep mine", go: () => sync.retry(entry) }, { text: "Take theirs", go: drop }];
    return { title: "It was changed elsewhere meanwhile", words: [mine, `Now it is ${inWords(theirs)}.`], choices };
  }
  const again = () => drop().then(() => sync.create(sync.draftOf(item)));
  /** @type {Choice[]} */
  const choices = op === "delete" ? [] : [{ text: "Create it again", go: again }];
  choices.push({ text: "Discard my change", go: drop });
  return { title: "It was deleted elsewhere meanwhile", words: [mine], choices };
}
