// The page: whose it is, and what it shows. Start reading here. auth.js signs in, and
// signin.js explains what goes wrong there; page.js is the frame. Once somebody is
// signed in: list.js shows the items and takes the clicks, view.js has the items in
// memory, store.js keeps them on the device, sync.js learns and sends, watch.js says
// when, state.js where it stands, api.js calls, editor.js is the form, and content.js
// what an item is about. token.js explains a token, and erase.js erases everything.

import * as api from "./api.js";
import * as auth from "./auth.js";
import { $, account, belongsTo, button, element, guard, notice, onFailure, showProblem, titled } from "./page.js";

/** @typedef {import("./auth.js").Person} Person */

/** @type {import("./auth.js").Config} */
let config;

// What a signed-in page needs comes when somebody is.
const parts = () => Promise.all([import("./list.js"), import("./watch.js"), import("./store.js")]);
/** @type {Awaited<ReturnType<typeof parts>> | null} */
let loaded = null;

// ---- what goes wrong -----------------------------------------------------------------

onFailure(async (error, of, close) => {
  const again = (/** @type {object} */ how) => () => account && auth.signInAgain(account, how);
  const text = `Sign in again as ${account?.name}`;
  if (error instanceof auth.SignedOut) return account && leave(account, elsewhere);
  if (error instanceof auth.OtherUser) {
    return showProblem({ title: "Somebody else is signed in", detail: error.message, of, close, actions: [{ text, go: again({ ask: true }) }] });
  }
  if (error instanceof auth.SignInNeeded) {
    const detail = "The sign-in has ended, and only you can renew it. What you changed is kept, and sent afterwards.";
    return showProblem({ title: "Please sign in again", detail, of, close, actions: [{ text, go: again({}) }] });
  }
  if (error instanceof auth.Unreachable && account) return void ($("verdict").textContent = `${error.message} Try again later.`);
  try {
    const { explain } = await import("./signin.js");
    await explain(error, { of, close });
  } catch {
    // This part of the app could not be had, as the one before it, it may be.
    showProblem({ title: "That did not work", detail: error.message, of, close, actions: [{ text: "Try again", go: () => location.reload() }] });
  }
});

// ---- the token ----------------------------------------------------------------

/** @param {string} [given] */
async function renderToken(given) {
  if (!account) return;
  const token = given ?? (await auth.token(account));
  const { compare } = await import("./token.js"); // not before somebody wants to see it
  const marks = { true: ["yes", "✓ "], false: ["no", "✗ "], undefined: ["", ""] };
  $("claims").replaceChildren(
    ...compare(api.claimsOf(account, token), config).map(({ claim, value, expected, ok }) => {
      const [className, sign] = marks[/** @type {"true" | "false" | "undefined"} */ (String(ok))];
      return element("tr", {}, element("th", { scope: "row", textContent: claim }), element("td", { textContent: value }), element("td", { className, textContent: sign + expected }));
    }),
  );
}

/** @param {string} [token] */
async function ask(token) {
  if (!account) return;
  $("verdict").textContent = "Asking …";
  const { status, problem } = await api.call(account, "GET", `${api.collection}?limit=1`, { token: token ?? (await auth.token(account)) });
  $("verdict").textContent = problem ? `${status} ${problem.code}: ${problem.detail ?? problem.title}` : `${status}: the API takes this token.`;
  showProblem(problem);
}

// ---- the views -------------------------------------------------------------------

const views = ["items", "token", "account"];
const view = () => views.find((name) => location.hash === `#${name}`) ?? "items";

async function show() {
  $("signed-out").hidden = Boolean(account);
  for (const name of views) $(`${name}-view`).hidden = !account || view() !== name;
  for (const id of ["nav", "who", "sign-out", "status"]) $(id).hidden = !account;
  for (const link of $("nav").children) {
    if (link.hash === `#${view()}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  titled(!account ? "Sign in" : view() === "items" ? "" : $(`${view()}-heading`).textContent);
  if (!account) return showPeople();
  $("who").textContent = $("signed-in-as").textContent = account.name;
  if (view() === "token") await guard(() => renderToken());
  else await loaded?.[0].render();
}

addEventListener("hashchange", () => {
  loaded?.[0].closeEditor(); // Back goes on behind it
  $("verdict").textContent = "";
  guard(show);
  if (account) $(`${view()}-heading`).focus();
});

/** Who is signed in in this browser, and whose page this could be. */
async function showPeople() {
  const people = await auth.people();
  if (account) return;
  $("whose").hidden = people.length === 0;
  $("sign-in").textContent = people.length ? "Sign in as somebody else" : "Sign in or sign up";
  $("sign-in").className = people.length ? "" : "primary";
  const choices = people.map((who) => button(`Continue as ${who.name}`, async () => signedIn(await auth.take(who))));
  for (const b of choices) b.className = "primary";
  const text = (/** @type {Iterable<Element>} */ buttons) => [...buttons].map((b) => b.textContent).join();
  if (text(choices) !== text($("people").children)) $("people").replaceChildren(...choices); // or it has the focus
}

/** @param {Person | null} as */
async function signedIn(as) {
  await loaded?.[1].rest(); // nothing of the person before goes on
  belongsTo(as);
  if (as) {
    loaded ??= await parts();
    if (account !== as) return;
    const [list, , store] = loaded;
    $("farewell").textContent = "";
    notice("cancelled");
    try {
      await list.open(as, { gone: () => leave(as, elsewhere), stillSignedIn });
    } catch (error) {
      if (account === as) belongsTo(null);
      throw error;
    }
    if (account !== as) return store.close();
  }
  await show();
  if (account) await loaded?.[1].look();
}

// ---- signing out --------------------------------------------------------------

const elsewhere = "You were signed out in another tab or window of this browser.";

/**
 * Makes this nobody's page, at once: nothing more is sent or shown.
 * @param {Person} who
 * @param {string} why
 */
function leave(who, why) {
  if (account !== who) return;
  belongsTo(null);
  auth.leave(who);
  loaded?.[0].close();
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  for (const id of ["claims", "verdict", "status", "spoken", "who", "signed-in-as", "editor-heading", "notices"]) $(id).replaceChildren();
  showProblem(null);
  $("farewell").textContent = why;
  guard(show);
}

/** Whether nobody has signed the person of this page out meanwhile. */
function stillSignedIn() {
  if (account && !auth.present(account)) leave(account, elsewhere);
  return account !== null;
}

/**
 * Signs out, and deletes what is kept here; asks before unsent changes are lost.
 * @param {number} agreed
 */
async function signOut(agreed) {
  const whose = account;
  if (!whose || !loaded) return;
  const [, , store] = loaded;
  const unsent = store.person ? await store.empty(agreed) : 0;
  if (unsent) return askToLose(unsent);
  await auth.signOut(whose);
  leaving(true);
  leave(whose, "You are signed out, and your list is no longer on this device.");
  await store.remove(whose);
  await guard(() => auth.endSession(whose));
  leaving(false);
}

/**
 * While the page is about to leave for the sign-in, nobody is to sign in on it.
 * @param {boolean} on
 */
function leaving(on) {
  for (const id of ["sign-in", "sign-in-popup"]) $(id).disabled = on;
}

/** @param {number} unsent */
function askToLose(unsent) {
  const one = ["1 change", "has", "is", "it"];
  const [changes, have, are, them] = unsent === 1 ? one : [`${unsent} changes`, "have", "are", "them"];
  const tried = $("unsent").open;
  const sent = tried ? "could not be sent" : `${have} not been sent`;
  $("unsent-text").textContent = `${changes} ${sent}, and ${are} kept only on this device. Signing out deletes ${them}.`;
  $("lose").textContent = `Sign out and lose ${them}`;
  $("lose").onclick = () => guard(() => signOut(unsent));
  if (!tried) $("unsent").showModal();
}

// ---- putting it together ------------------------------------------------------

$("sign-out").onclick = () => guard(() => signOut(0));
$("stay").onclick = () => $("unsent").close();
$("send-first").onclick = () =>
  guard(async () => {
    $("send-first").disabled = true;
    await loaded?.[1].look();
    $("send-first").disabled = false;
    if ($("unsent").open) await signOut(0);
  });
$("sign-in").onclick = () => guard(auth.signIn);
$("sign-in-popup").onclick = () => guard(async () => signedIn(await auth.signInByPopup()));
$("erase").onclick = () => guard(async () => (await import("./erase.js")).ask());
$("ask").onclick = () => guard(() => ask());
$("renew").onclick = () => guard(async () => account && renderToken(await auth.token(account, { fresh: true })));
$("edit-profile").onclick = () =>
  guard(async () => {
    if (!account) return;
    const token = await auth.editProfile(account);
    await renderToken(token);
    await ask(token);
  });

// A new version waits: the worker has seen that a file of the app is another now.
navigator.serviceWorker?.addEventListener("message", ({ data }) => {
  if (data === "newer") notice("newer", "A new version of this app is here.", [{ text: "Reload", go: () => location.reload() }]);
});
navigator.serviceWorker?.register("worker.js").catch(() => {}); // without it the app needs a network
let looked = Date.now();
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible" || Date.now() - looked < 3600_000) return;
  looked = Date.now();
  navigator.serviceWorker?.controller?.postMessage("look");
});

await guard(async () => {
  config = await (await fetch("config.json")).json();
  if (auth.expected()) parts().catch(() => {}); // while the sign-in is prepared
  api.start(config);
  await auth.start(config);
  $("edit-profile").hidden = !auth.canEditProfile();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let later;
  addEventListener("storage", ({ key }) => {
    // Another tab has changed what MSAL keeps: who is signed in, it may be.
    if (!auth.isMSALs(key) || stillSignedIn()) return;
    clearTimeout(later);
    later = setTimeout(() => account ?? guard(showPeople), 500); // it is not done yet
  });
  /** @type {any} */
  let refused;
  await auth.comeBack().catch((error) => (refused = error));
  await signedIn(await auth.current());
  if (refused) await guard(() => Promise.reject(refused));
  else if (account && auth.cameFor(account, "erase")) await (await import("./erase.js")).goOn();
});
