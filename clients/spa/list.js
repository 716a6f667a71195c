// The list: its rows, the search, and the editor. What a click changes is put in the
// line (sync.js) and shown at once (view.js).

import * as content from "./content.js";
import * as editor from "./editor.js";
import { $, account, button, element, guard, notice, speak, titled } from "./page.js";
import { refusal, waits } from "./refused.js";
import * as store from "./store.js";
import * as sync from "./sync.js";
import * as view from "./view.js";
import * as watch from "./watch.js";

/** @typedef {import("./auth.js").Person} Person */
/** @typedef {import("./sync.js").Item} Item */
/** @typedef {import("./sync.js").Entry} Entry */
/** @typedef {import("./view.js").Row} Row */

const pageSize = 20;
let shown = pageSize;

/**
 * Opens the person's list. gone is called when what is kept of them was deleted.
 * @param {Person} who
 * @param {{gone: () => void, stillSignedIn: () => boolean}} page
 */
export async function open(who, { gone, stillSignedIn }) {
  await store.open(who, {
    gone,
    changed(ids) {
      view.changed(ids);
      soon();
    },
    heard: (message) => (message.became ? sync.heard(message) : watch.learned(message.learned)),
  });
  watch.start({ render, stillSignedIn });
  tellOfDrafts();
}

/** Closes it at once: nothing more is sent or shown. */
export function close() {
  watch.stop();
  store.close();
  sync.stop();
  view.clear();
  forgetDrafts();
  rows.clear();
  editing = null;
  shown = pageSize;
  $("list").replaceChildren();
  $("search").value = $("found").textContent = "";
  $("editor-form").reset();
}

// ---- the rows -------------------------------------------------------------------

/**
 * The rows on the page, by ID, with what they were made from.
 * @type {Map<string, {li: HTMLElement, of: string}>}
 */
const rows = new Map();

let due = false;

// Changes come in crowds.
function soon() {
  if (due) return;
  due = true;
  setTimeout(() => {
    due = false;
    if (account) guard(render);
  });
}

let renders = 0;

/** Shows the list, and leaves alone what is the same: somebody may be in it. */
export async function render() {
  const [whose, turn] = [account, ++renders];
  const all = await view.view();
  if (account !== whose || !whose) return;
  watch.showState();
  const found = await view.search(all, $("search").value);
  if (account !== whose || turn !== renders) return; // another comes that has seen more
  $("empty").hidden = all.length > 0;
  $("find").hidden = all.length === 0;
  $("more").hidden = found.length <= shown;
  $("found").textContent = found.length === all.length ? "" : `${found.length} of ${all.length}`;
  const part = found.slice(0, shown);
  const focused = /** @type {HTMLElement} */ (document.activeElement);
  const [id, text] = [/** @type {HTMLElement | null} */ (focused.closest("#list > li"))?.dataset.id, focused.textContent];
  const there = new Set(part.map(({ item }) => item.id));
  for (const [id, { li }] of rows) {
    if (there.has(id)) continue;
    li.remove();
    rows.delete(id);
  }
  let place = $("list").firstElementChild;
  for (const it of part) {
    const of = JSON.stringify(it);
    const before = rows.get(it.item.id);
    let li = before?.li;
    if (!li || before?.of !== of) {
      const another = row(it);
      if (li && place === li) place = li.nextElementSibling;
      li?.remove();
      rows.set(it.item.id, { li: another, of });
      li = another;
    }
    if (li === place) place = place.nextElementSibling;
    else $("list").insertBefore(li, place);
  }
  if (id && !focused.isConnected) focusRow(id, text);
}

/**
 * Puts the focus on a row's button, or where a row is made if it is gone.
 * @param {string} id
 * @param {string | null} text
 */
function focusRow(id, text) {
  const buttons = [...(rows.get(id)?.li.querySelectorAll("button") ?? [])];
  (buttons.find((b) => b.textContent === text) ?? buttons[0] ?? $("new")).focus();
}

/**
 * @param {Row} row
 * @returns {HTMLElement}
 */
function row({ item, entry }) {
  const deleted = entry?.op === "delete";
  const details = content.details(item);
  const li = element(
    "li",
    { className: deleted ? "deleted" : "" },
    element(
      "div",
      { className: "what" },
      element("p", { className: "name", dir: "auto", textContent: content.title(item) }),
      details ? element("p", { className: "details", dir: "auto", textContent: details }) : null,
      entry && !entry.problem ? element("p", { className: "waits", textContent: waits[entry.op] }) : null,
    ),
    entry?.problem ? refused(item, entry) : null,
    deleted || entry?.problem
      ? null
      : element(
          "div",
          { className: "actions" },
          button("Edit", () => openEditor(item), `Edit ${content.title(item)}`),
          button("Delete", () => remove(item), `Delete ${content.title(item)}`),
        ),
  );
  li.dataset.id = item.id;
  return li;
}

/**
 * A change that the server refused, and what can be done with it.
 * @param {Item} item
 * @param {Entry} entry
 */
function refused(item, entry) {
  const { title, words, fix, choices } = refusal(item, entry);
  const buttons = choices.map(({ text, go }) => button(text, () => (go ? changed(go()) : openEditor(item))));
  return element(
    "div",
    { className: "problem" },
    element("h3", { textContent: title }),
    ...words.map((textContent) => element("p", { textContent })),
    fix ? element("p", { className: "fix", textContent: fix }) : null,
    element("div", { className: "row" }, ...buttons),
  );
}

/** @param {Promise<unknown>} [work] */
async function changed(work) {
  await work;
  await render();
  await watch.look();
}

/** @param {Item} item */
async function remove(item) {
  const undo = await sync.remove(item);
  notice("deleted", `Deleted “${content.title(item)}”.`, [{ text: "Undo", go: () => changed(undo()) }]);
  await changed();
}

// ---- more of it, and less -----------------------------------------------------------

async function grow() {
  if ($("more").hidden) return;
  shown += pageSize;
  await guard(render);
  // It tells of the end again, where that is still near.
  end.unobserve($("more"));
  end.observe($("more"));
}

const end = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && grow(), { rootMargin: "400px" });
end.observe($("more"));
$("more").onclick = grow;

$("search").oninput = () => {
  shown = pageSize;
  guard(async () => {
    await render();
    speak($("found").textContent);
  });
};

// ---- the editor ---------------------------------------------------------------

/** @type {Item | null} */
let editing = null; // the item in the editor, or null for a new one
let titles = ["", ""]; // of the page, before and with the editor

// What was typed and not saved, by the item's ID. It outlives the editor, by Escape or
// Back, and a reload.
const draftsKey = "what was typed";
const forgetDrafts = () => sessionStorage.removeItem(draftsKey);

/** @returns {Record<string, {item: Item | null, typed: Record<string, string | boolean>}>} */
function drafts() {
  const { owner, all } = JSON.parse(sessionStorage.getItem(draftsKey) ?? "{}");
  return owner === account?.owner ? all : {};
}

/**
 * Keeps what was typed of an item, or forgets it.
 * @param {Item | null} item
 * @param {Record<string, string | boolean>} [typed]
 */
function draft(item, typed) {
  const { [item?.id ?? "new"]: _, ...others } = drafts();
  const all = typed ? { ...others, [item?.id ?? "new"]: { item, typed } } : others;
  sessionStorage.setItem(draftsKey, JSON.stringify({ owner: account?.owner, all }));
}

function tellOfDrafts() {
  const all = Object.values(drafts());
  const last = all.at(-1);
  if (!last) return notice("draft");
  const whose = last.item ? `for “${content.title(last.item)}”` : "for a new item";
  notice("draft", `What you typed ${whose} is kept, and not saved.`, [
    { text: "Go on editing", go: () => openEditor(last.item) },
    { text: "Discard it", go: () => (draft(last.item), tellOfDrafts()) },
  ]);
}

/** @param {Item | null} item */
function openEditor(item) {
  const kept = drafts()[item?.id ?? "new"];
  editing = kept ? kept.item : item;
  notice("draft");
  const heading = editing ? `Edit “${content.title(editing)}”` : "New item";
  $("editor-heading").textContent = heading;
  editor.fill(editing, kept?.typed);
  $("editor").showModal();
  const before = document.title;
  titled(heading);
  titles = [before, document.title];
}

/** Closes the editor, where the page goes on to another view; what was typed is kept. */
export const closeEditor = () => $("editor").close();

editor.build($("fields"));
$("editor-form").oninput = () => draft(editing, editor.typed());
$("new").onclick = () => openEditor(null);
$("cancel").onclick = () => {
  draft(editing);
  $("editor").close();
};
$("editor").onclose = () => {
  if (!account) return;
  if (document.title === titles[1]) document.title = titles[0]; // or it is that of another view
  tellOfDrafts();
  // The row may have been redrawn while the editor was open.
  if (document.activeElement === document.body && editing) focusRow(editing.id, "Edit");
};
$("editor-form").onsubmit = async (/** @type {Event} */ event) => {
  event.preventDefault();
  const ready = editor.read(editing);
  if (!ready) return;
  $("save").disabled = true;
  try {
    await (editing ? sync.edit(editing, ready) : sync.create(ready));
    draft(editing);
    $("editor").close(); // not before: closed means kept
    navigator.storage?.persist?.().catch(() => {}); // or the browser may drop what was not sent
    guard(changed);
  } catch (/** @type {any} */ error) {
    editor.say(undefined, `This could not be kept on this device: ${error.message}`);
  } finally {
    $("save").disabled = false;
  }
};
