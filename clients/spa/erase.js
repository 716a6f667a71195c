// Erases everything that the API keeps of a person, once they have signed in afresh: who
// finds a page open cannot.

import * as api from "./api.js";
import * as auth from "./auth.js";
import { $, account, guard, notice, showProblem } from "./page.js";
import * as store from "./store.js";
import * as watch from "./watch.js";

/**
 * @param {string} text
 * @param {string} choice
 * @param {() => unknown} go
 */
function dialog(text, choice, go) {
  $("erasing-text").textContent = text;
  $("erase-now").textContent = choice;
  $("erase-now").onclick = () => guard(go);
  $("keep").onclick = () => $("erasing").close();
  if (!$("erasing").open) $("erasing").showModal();
}

/** Asks, and leaves the page for the sign-in. */
export function ask() {
  const who = account;
  if (!who) return;
  dialog("All that you have here is deleted, on the server and on every device. First sign in once more, to show that it is you.", "Sign in to erase", () => {
    $("erasing").close();
    return auth.signInAgain(who, { ask: true, why: "erase" });
  });
}

/** Goes on where the person comes back from that sign-in. */
export const goOn = () => dialog("This is the last step. Nobody can bring back what is erased.", "Erase everything now", erase);

async function erase() {
  const who = account;
  if (!who) return;
  $("erase-now").disabled = true;
  try {
    await store.change(({ queue }) => queue.clear()); // what waits is not to be made after it
    let erased = 0;
    for (let more = true; more; ) {
      const { data, problem } = await api.call(who, "POST", `${api.collection}/erase`, { body: '{"confirm":"erase everything"}' });
      if (problem) {
        showProblem({ ...problem, actions: [{ text: "Go on erasing", go: erase }] });
        break;
      }
      ({ more } = data);
      erased += data.erased;
      notice("deleted"); // there is nothing to undo
      if (!more) notice("erased", `Everything is erased: ${erased} on the server, and what was on this device.`);
    }
  } finally {
    $("erase-now").disabled = false;
    $("erasing").close();
    // The dialog came with the page: nothing had the focus before it.
    /** @type {HTMLElement | null} */ (document.querySelector("section:not([hidden]) h2[tabindex]"))?.focus();
  }
  await watch.look();
}
