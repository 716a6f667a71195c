// The page: shows what there is, and turns clicks into changes (sync.js). Start
// reading here: auth.js signs in, api.js calls, store.js keeps, sync.js learns and
// sends, token.js explains a token, editor.js is the form, and content.js what an item
// is about.

import * as api from "./api.js";
import * as auth from "./auth.js";
import * as content from "./content.js";
import * as editor from "./editor.js";
import * as store from "./store.js";
import * as sync from "./sync.js";

const $ = (id) => document.getElementById(id);
const pageSize = 20;

let config;
let account = null; // whose page this is, from auth.js
let shown = pageSize;
let editing = null; // the item in the editor, or null for a new one
let timer;

// ---- small things -------------------------------------------------------------

function element(tag, properties = {}, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children.filter((child) => child != null));
  return e;
}

const button = (text, onclick, label) => {
  const b = element("button", { type: "button", textContent: text, onclick: () => guard(onclick) });
  if (label) b.setAttribute("aria-label", label);
  return b;
};

/** Shows a problem in its own words, or hides it. */
function showProblem(problem) {
  $("problem").hidden = !problem;
  problem ??= {};
  $("problem-title").textContent = problem.title ?? "";
  $("problem-detail").textContent = problem.detail ?? "";
  $("problem-fix").textContent = problem.fix ? `What to do: ${problem.fix}` : "";
  $("problem-code").textContent = [problem.code, problem.instance].filter(Boolean).join(" · ");
  $("problem-again").hidden = !problem.again || !account;
  $("problem-again").textContent = `Sign in again as ${account?.name}`;
  $("problem-close").onclick = () => guard(() => {
    showProblem(null);
    return problem.close?.();
  });
  $("problem-again").onclick = () => guard(() => auth.signInAgain(account, problem.again));
}

/** Does something, and shows what goes wrong. */
async function guard(work) {
  const whose = account;
  try {
    return await work();
  } catch (error) {
    if (whose && account !== whose) return; // it was cut off
    if (error instanceof auth.SignedOut) {
      leave(account, elsewhere);
    } else if (error instanceof auth.OtherUser) {
      halted = true;
      showProblem({ title: "Somebody else is signed in", detail: error.message, again: { ask: true } });
    } else if (error instanceof auth.SignInNeeded) {
      const detail = "The sign-in has ended, and only you can renew it. What you changed is kept, and sent afterwards.";
      showProblem({ title: "Please sign in again", detail, again: {} });
    } else if (error instanceof auth.Unreachable) {
      setStatus({ offline: true });
    } else if (error.errorCode === "user_cancelled" || /AADB2C90091/.test(error.message)) {
      showProblem({ title: "The sign-in was cancelled", detail: "Nothing has changed.", code: "AADB2C90091" });
    } else {
      showProblem({ title: "That did not work", detail: error.message, code: error.errorCode ?? error.name });
    }
  }
}

// ---- the list -----------------------------------------------------------------

let rendered = "";

/** Shows the list, and leaves it alone where it is the same: somebody may be in it. */
async function render() {
  const whose = account;
  const all = await sync.view();
  if (account !== whose) return;
  const part = all.slice(0, shown);
  $("empty").hidden = all.length > 0;
  $("more").hidden = all.length <= shown;
  if (JSON.stringify(part) === rendered) return;
  rendered = JSON.stringify(part);
  const focused = document.activeElement;
  const [id, text] = [focused.closest("#list li")?.dataset.id, focused.textContent];
  $("list").replaceChildren(...part.map(row));
  if (id) focusRow(id, text);
}

/** Puts the focus on a row's button, or where a row is made if it is gone. */
function focusRow(id, text) {
  const there = [...$("list").children].find((li) => li.dataset.id === id);
  const buttons = [...(there?.querySelectorAll("button") ?? [])];
  (buttons.find((b) => b.textContent === text) ?? buttons[0] ?? $("new")).focus();
}

function row({ item, entry }) {
  const waits = entry && !entry.problem ? element("p", { className: "waits", textContent: { create: "Waits to be sent", change: "Your change waits to be sent", delete: "Waits to be deleted" }[entry.op] }) : null;
  const deleted = entry?.op === "delete";
  const li = element(
    "li",
    { className: deleted ? "deleted" : "" },
    element(
      "div",
      { className: "what" },
      element("p", { className: "name", textContent: content.title(item) }),
      content.details(item) ? element("pre", { textContent: content.details(item) }) : null,
      waits,
    ),
    entry?.problem ? refused(item, entry) : null,
    deleted || entry?.problem
      ? null
      : element(
          "div",
          { className: "actions" },
          button("Edit", () => openEditor(item), `Edit ${content.title(item)}`),
          button("Delete", () => changed(sync.remove(item)), `Delete ${content.title(item)}`),
        ),
  );
  li.dataset.id = item.id;
  return li;
}

/** A change that the server refused, and what can be done with it. */
function refused(item, entry) {
  const { problem, theirs } = entry;
  const box = element("div", { className: "problem" });
  const choices = element("div", { className: "row" });
  if (["item.changed", "item.not_found", "item.deleted"].includes(problem.code)) {
    const inWords = (which) => `“${content.title(which)}”${content.details(which) ? ` with ${content.details(which)}` : ""}`;
    box.append(
      element("h3", { textContent: theirs ? "It was changed elsewhere meanwhile" : "It was deleted elsewhere meanwhile" }),
      element("p", { textContent: entry.op === "delete" ? "You deleted it." : `You made it ${inWords(item)}.` }),
    );
    if (theirs) {
      box.append(element("p", { textContent: `Now it is ${inWords(theirs)}.` }));
      choices.append(button("Keep mine", () => changed(sync.retry(entry))), button("Take theirs", () => changed(sync.drop(entry))));
    } else {
      if (entry.op !== "delete") choices.append(button("Create it again", () => changed(sync.drop(entry).then(() => sync.create(editor.draftOf(item))))));
      choices.append(button("Discard my change", () => changed(sync.drop(entry))));
    }
  } else {
    box.append(element("h3", { textContent: problem.title }), element("p", { textContent: problem.detail ?? "" }));
    for (const e of problem.errors ?? []) box.append(element("p", { textContent: `${e.pointer}: ${e.detail}` }));
    if (problem.fix) box.append(element("p", { className: "fix", textContent: problem.fix }));
    if (entry.op !== "delete") choices.append(button("Edit", () => openEditor(item)));
    choices.append(button("Try again", () => changed(sync.retry(entry))), button("Discard", () => changed(sync.drop(entry))));
  }
  box.append(choices);
  return box;
}

async function changed(work) {
  await work;
  const waiting = await sync.waiting();
  if (waiting) setStatus({ waiting });
  await render();
  await runSync();
}

// ---- sending and learning -----------------------------------------------------

function setStatus({ offline = false, waiting = 0 }) {
  const changes = waiting === 1 ? "1 change waits" : `${waiting} changes wait`;
  const text = offline ? "Offline. What you change is kept here and sent later." : waiting ? `${changes} to be sent.` : `Up to date at ${new Date().toLocaleTimeString()}.`;
  $("status").textContent = text;
}

function erased({ count, erasedAt } = {}) {
  if (!count) return null;
  const [changes, were] = count === 1 ? ["1 change", "was"] : [`${count} changes`, "were"];
  const detail = `That was done elsewhere, at ${new Date(erasedAt).toLocaleString()}. ${changes} made here before then had not been sent, and ${were} dropped.`;
  return { title: "Your items were erased", detail, close: sync.told };
}

let running = null;
let failures = 0; // in a row
let halted = false; // another user's token came: no trying again by itself

/** Sends and learns; several calls at once are one, and one more. */
function runSync() {
  if (!account) return Promise.resolve();
  running = (running ?? Promise.resolve()).then(syncOnce, syncOnce);
  return running;
}

async function syncOnce() {
  const whose = account;
  if (!whose || !stillSignedIn()) return;
  clearTimeout(timer);
  halted = false;
  const result = await guard(() => sync.run());
  if (account !== whose) return;
  failures = result ? 0 : failures + 1;
  if (result) {
    setStatus(result);
    showProblem(result.problem ?? erased(result.dropped));
  }
  await render();
  if (halted || account !== whose) return;
  const wait = result?.retryAfter ?? (result ? 30 : Math.min(30, 2 ** failures));
  timer = setTimeout(runSync, wait * 1000);
}

// ---- the editor ---------------------------------------------------------------

function openEditor(item) {
  editing = item;
  $("editor-heading").textContent = item ? `Edit “${content.title(item)}”` : "New item";
  editor.fill(item);
  $("editor").showModal();
}

// ---- the token ----------------------------------------------------------------

async function renderToken(given) {
  const token = given ?? (await auth.token(account));
  const { compare } = await import("./token.js"); // not before somebody wants to see it
  const mark = { true: ["yes", "✓ "], false: ["no", "✗ "] };
  $("claims").replaceChildren(
    ...compare(api.claimsOf(account, token), config).map(({ claim, value, expected, ok }) => {
      const [className, sign] = mark[ok] ?? ["", ""];
      return element("tr", {}, element("th", { scope: "row", textContent: claim }), element("td", { textContent: value }), element("td", { className, textContent: sign + expected }));
    }),
  );
}

async function ask(token) {
  const { status, problem } = await api.call(account, "GET", `${api.collection}?limit=1`, { token: token ?? (await auth.token(account)) });
  $("verdict").textContent = problem ? `${status} ${problem.code}: ${problem.detail ?? problem.title}` : `${status}: the API takes this token.`;
  showProblem(problem);
}

// ---- putting it together ------------------------------------------------------

async function show() {
  const view = location.hash === "#token" ? "token" : "items";
  $("signed-out").hidden = Boolean(account);
  $("items-view").hidden = !account || view !== "items";
  $("token-view").hidden = !account || view !== "token";
  for (const id of ["nav", "who", "sign-out"]) $(id).hidden = !account;
  for (const link of $("nav").children) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!account) return showPeople();
  $("who").textContent = account.name;
  if (view === "token") await guard(() => renderToken());
  else await render();
}

/** Who is signed in in this browser, and whose page this could be. */
async function showPeople() {
  const people = await auth.people();
  if (account) return;
  $("whose").hidden = people.length === 0;
  $("sign-in").textContent = people.length ? "Sign in as somebody else" : "Sign in or sign up";
  $("sign-in").className = people.length ? "" : "primary";
  const choices = people.map((who) => button(`Continue as ${who.name}`, async () => signedIn(await auth.take(who))));
  for (const b of choices) b.className = "primary";
  const text = (buttons) => [...buttons].map((b) => b.textContent).join();
  if (text(choices) !== text($("people").children)) $("people").replaceChildren(...choices); // or it has the focus
}

async function signedIn(as) {
  await running?.catch(() => {}); // nothing of the person before goes on
  account = as;
  rendered = "";
  if (account) {
    $("farewell").textContent = "";
    try {
      await store.open(as, () => leave(as, elsewhere));
    } catch (error) {
      account = null;
      throw error;
    }
    if (account !== as) return store.close();
    sync.start(as);
  }
  await show();
  await runSync();
}

// ---- signing out --------------------------------------------------------------

const elsewhere = "You were signed out in another tab or window of this browser.";

/** Makes this nobody's page, at once: nothing more is sent or shown. */
function leave(who, why) {
  if (account !== who) return;
  account = editing = null;
  clearTimeout(timer);
  auth.leave(who);
  store.close();
  sync.stop();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  for (const id of ["list", "claims", "verdict", "status", "who", "editor-heading"]) $(id).replaceChildren();
  $("editor").querySelector("form").reset();
  showProblem(null);
  $("farewell").textContent = why;
  guard(show);
}

/** Whether nobody has signed the person of this page out meanwhile. */
function stillSignedIn() {
  if (account && !auth.present(account)) leave(account, elsewhere);
  return account !== null;
}

/** Signs out, and deletes what is kept here; asks before unsent changes are lost. */
async function signOut(agreed) {
  const whose = account;
  const unsent = store.person ? await store.empty(agreed) : 0;
  if (unsent) return askToLose(unsent);
  await auth.signOut(whose);
  leave(whose, "You are signed out, and your list is no longer on this device.");
  await store.remove(whose);
  if (navigator.onLine) await guard(() => auth.endSession(whose));
}

function askToLose(unsent) {
  const one = ["1 change", "has", "is", "it"];
  const [changes, have, are, them] = unsent === 1 ? one : [`${unsent} changes`, "have", "are", "them"];
  const tried = $("unsent").open;
  const sent = tried ? "could not be sent" : `${have} not been sent`;
  $("unsent-text").textContent = `${changes} ${sent}, and ${are} kept on this device alone. Signing out deletes ${them}.`;
  $("lose").textContent = `Sign out and lose ${them}`;
  $("lose").onclick = () => guard(() => signOut(unsent));
  if (!tried) $("unsent").showModal();
}

$("sign-out").onclick = () => guard(() => signOut(0));
$("stay").onclick = () => $("unsent").close();
$("send-first").onclick = () =>
  guard(async () => {
    $("send-first").disabled = true;
    await runSync();
    $("send-first").disabled = false;
    if ($("unsent").open) await signOut(0);
  });

$("sign-in").onclick = () => guard(auth.signIn);
$("sign-in-popup").onclick = () => guard(async () => signedIn(await auth.signInByPopup()));
$("new").onclick = () => openEditor(null);
$("more").onclick = () => {
  shown += pageSize;
  guard(render);
};
editor.build($("fields"));
$("cancel").onclick = () => $("editor").close();
$("editor").onclose = () => {
  // The row may have been redrawn while the editor was open.
  if (document.activeElement === document.body && editing) focusRow(editing.id, "Edit");
};
$("editor").querySelector("form").onsubmit = async (event) => {
  event.preventDefault();
  const draft = editor.read(editing);
  if (!draft) return;
  $("save").disabled = true;
  try {
    await (editing ? sync.edit(editing, draft) : sync.create(draft));
    $("editor").close(); // not before: closed means kept
    guard(changed);
  } catch (error) {
    editor.say(undefined, `This could not be kept on this device: ${error.message}`);
  } finally {
    $("save").disabled = false;
  }
};
$("ask").onclick = () => guard(() => ask());
$("renew").onclick = () => guard(async () => renderToken(await auth.token(account, { fresh: true })));
$("edit-profile").onclick = () =>
  guard(async () => {
    const token = await auth.editProfile(account);
    await renderToken(token);
    await ask(token);
  });
addEventListener("hashchange", () => guard(show));
addEventListener("online", runSync);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && runSync());

navigator.serviceWorker?.register("worker.js");
await guard(async () => {
  config = await (await fetch("config.json")).json();
  api.start(config);
  await auth.start(config);
  let later;
  addEventListener("storage", ({ key }) => {
    // Another tab has changed what MSAL keeps: who is signed in, it may be.
    if (!auth.isMSALs(key) || stillSignedIn()) return;
    clearTimeout(later);
    later = setTimeout(() => account ?? guard(showPeople), 500); // it is not done yet
  });
  let refused;
  await auth.comeBack().catch((error) => (refused = error));
  await signedIn(await auth.current());
  if (refused) await guard(() => Promise.reject(refused));
});
