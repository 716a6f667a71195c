// The items as they will be when all is sent, newest first. They are read from the
// device once and are then in memory; what changes there, by this tab or another, is
// read again by its ID.

import * as content from "./content.js";
import * as store from "./store.js";

/** @typedef {import("./sync.js").Item} Item */
/** @typedef {import("./sync.js").Entry} Entry */
/** @typedef {{item: Item, entry?: Entry}} Row */

/** @type {Map<string, Item> | null} */
let items = null; // null until they were read
/** @type {Item[]} */
let order = [];
/** @type {Set<string>} */
let stale = new Set(); // IDs to read again
/** @type {Entry[]} */
let line = [];
let reading = Promise.resolve();

/** Forgets all: another person's come next. */
export function clear() {
  [items, order, stale, line] = [null, [], new Set(), []];
}

/** @param {Iterable<string>} ids of what has changed */
export function changed(ids) {
  for (const id of ids) stale.add(id);
}

/**
 * @param {Item} a
 * @param {Item} b
 */
const newestFirst = (a, b) => (a.createdAt === b.createdAt ? (a.id < b.id ? 1 : -1) : a.createdAt < b.createdAt ? 1 : -1);

async function read() {
  const of = store.person;
  if (!of) return;
  const ids = [...stale];
  stale = new Set();
  const all = items === null;
  const found = await store.everything(all ? undefined : ids);
  if (store.person !== of) return;
  line = found.queue;
  if (all) items = new Map(found.items.map((item) => [item.id, item]));
  else for (const [n, id] of ids.entries()) found.items[n] ? items?.set(id, found.items[n]) : items?.delete(id);
  if (items && (all || ids.length)) order = [...items.values()].sort(newestFirst);
}

/**
 * All rows.
 * @returns {Promise<Row[]>}
 */
export async function view() {
  reading = reading.catch(() => {}).then(read);
  await reading;
  /** @type {Map<string, Row>} */
  const waiting = new Map();
  for (const entry of line) {
    const there = items?.get(entry.id);
    const before = waiting.get(entry.id) ?? (there && { item: there });
    const item = { ...before?.item, ...entry.item, etag: before?.item.etag };
    waiting.set(entry.id, { item, entry: before?.entry?.problem ? before.entry : entry });
  }
  const rows = order.map((item) => waiting.get(item.id) ?? { item });
  const made = [...waiting].filter(([id]) => !items?.has(id)).map(([, row]) => row);
  return made.length ? [...rows, ...made].sort((a, b) => newestFirst(a.item, b.item)) : rows;
}

/** How many changes wait to be sent, as of the last view; what was refused waits for the person. */
export const waiting = () => line.filter((entry) => !entry.problem).length;

/** @type {WeakMap<Item, string>} */
const texts = new WeakMap();

/** @param {Item} item */
function textOf(item) {
  let text = texts.get(item);
  if (text === undefined) texts.set(item, (text = `${content.title(item)}\n${content.details(item)}`.normalize().toLocaleLowerCase()));
  return text;
}

/**
 * The rows that have every word in their title or details. It lets the page do
 * something else every now and then.
 * @param {Row[]} rows
 * @param {string} words
 */
export async function search(rows, words) {
  const wanted = words.normalize().toLocaleLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.length) return rows;
  const found = [];
  let since = performance.now();
  for (const [n, row] of rows.entries()) {
    if (wanted.every((word) => textOf(row.item).includes(word))) found.push(row);
    if (n % 100 || performance.now() - since < 15) continue;
    await new Promise((resolve) => setTimeout(resolve));
    since = performance.now();
  }
  return found;
}
