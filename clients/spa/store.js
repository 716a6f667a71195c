// What is kept on this device: items as the server has them, and the changes that
// wait to be sent. Each person has a database of their own, and what is sent from it
// goes with a token of theirs (person), so that nobody's changes are sent as somebody
// else's. The person's tabs tell each other what they change.

/** @typedef {import("./auth.js").Person} Person */
/** @typedef {import("./sync.js").Item} Item */
/** @typedef {import("./sync.js").Entry} Entry */
/**
 * The object stores in a transaction, and done, which waits for a request of theirs.
 * @typedef {{items: Pick<IDBObjectStore, "clear" | "getAllKeys"> & {put: (item: Item) => IDBRequest, delete: (id: string) => IDBRequest},
 *   queue: IDBObjectStore, meta: IDBObjectStore, done: <T>(request: IDBRequest<T>) => Promise<T>}} Stores
 */

/** @type {IDBDatabase | null} */
let db = null;
/** @type {BroadcastChannel | null} */
let tabs = null;

/**
 * Whose database is open, from auth.current().
 * @type {Person | null}
 */
export let person = null;

/** @param {Person} who */
const nameOf = (who) => `items of ${who.owner}`;

/**
 * Opens the person's database. gone is called when another tab deletes it, or the
 * browser does; changed with the IDs of items whenever this tab or another has changed
 * something, and heard with what another tab tells.
 * @param {Person} who
 * @param {{gone: () => void, changed: (ids: string[]) => void, heard: (message: any) => void}} listener
 */
export async function open(who, { gone, changed, heard }) {
  const request = indexedDB.open(nameOf(who), 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("items", { keyPath: "id" });
    request.result.createObjectStore("queue", { keyPath: "seq", autoIncrement: true });
    request.result.createObjectStore("meta");
  };
  const opened = await inTime(request);
  opened.onversionchange = opened.onclose = () => {
    opened.close(); // or the other tab would wait for us
    gone();
  };
  await done(opened.transaction("meta", "readwrite").objectStore("meta").delete("emptied"));
  [db, person] = [opened, who];
  tabs = new BroadcastChannel(nameOf(who));
  tabs.onmessage = ({ data }) => (data.ids ? changed(data.ids) : heard(data));
  told = changed;
}

/** @type {(ids: string[]) => void} */
let told = () => {};

/**
 * Tells the person's other tabs.
 * @param {any} message
 */
export const tell = (message) => tabs?.postMessage(message);

/**
 * A database that is to be deleted opens after that, which waits for all who have it open.
 * @param {IDBOpenDBRequest} request
 */
async function inTime(request) {
  const held = "Another tab or window holds on to what was kept for you here. Close it, and load this page again.";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let late;
  const deadline = new Promise((_, reject) => (late = setTimeout(() => reject(new Error(held)), 5000)));
  try {
    return await Promise.race([done(request), /** @type {Promise<never>} */ (deadline)]);
  } catch (error) {
    request.onsuccess = () => request.result.close();
    throw error;
  } finally {
    clearTimeout(late);
  }
}

export function close() {
  db?.close();
  tabs?.close();
  db = person = tabs = null;
}

/**
 * Empties the database for good, unless more changes wait in it than the person has
 * agreed to lose: then it returns how many, and all is as it was.
 * @param {number} agreed
 */
export function empty(agreed) {
  return change(async ({ items, queue, meta, done }) => {
    const unsent = await done(queue.count());
    if (unsent > agreed) return unsent;
    for (const store of [items, queue, meta]) store.clear();
    meta.put(true, "emptied"); // another tab may still have it open
    return 0;
  });
}

/**
 * Deletes the person's database, once every tab has closed it; it is empty already.
 * @param {Person} who
 */
export function remove(who) {
  const deleted = done(indexedDB.deleteDatabase(nameOf(who))).catch(() => {});
  return Promise.race([deleted, new Promise((resolve) => setTimeout(resolve, 2000))]);
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function opened() {
  if (!db) throw new Error("nobody's database is open");
  return db;
}

/**
 * Does several things at once or not at all; work gets the object stores. Nothing is
 * kept any more in a database that was emptied.
 * @template T
 * @param {(stores: Stores) => T | Promise<T>} work
 * @returns {Promise<T>}
 */
export function change(work) {
  return new Promise((resolve, reject) => {
    const transaction = opened().transaction(["items", "queue", "meta"], "readwrite", { durability: "strict" });
    /** @param {string} name */
    const store = (name) => transaction.objectStore(name);
    const all = store("items");
    /** @type {Set<string>} */
    const ids = new Set();
    /** @type {Stores["items"]} */
    const items = {
      put: (item) => (ids.add(item.id), all.put(item)),
      delete: (id) => (ids.add(id), all.delete(id)),
      clear: () => all.clear(), // by those who leave
      getAllKeys: () => all.getAllKeys(),
    };
    /** @type {T} */
    let result;
    transaction.oncomplete = () => {
      told([...ids]);
      tell({ ids: [...ids] });
      resolve(result);
    };
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
    const attempt = async () => {
      if (await done(store("meta").get("emptied"))) throw new Error("you have signed out");
      return work({ items, queue: store("queue"), meta: store("meta"), done });
    };
    attempt().then(
      (value) => (result = value),
      (error) => {
        reject(error);
        try {
          transaction.abort();
        } catch {
          // it is over already
        }
      },
    );
  });
}

/**
 * Items and line as they are at one moment: an item that was just sent is in one of
 * them. With ids, those items alone, in their order; all of them come in parts, so that
 * the page can do something else between them.
 * @param {string[]} [ids]
 * @returns {Promise<{items: Item[], queue: Entry[]}>}
 */
export async function everything(ids) {
  const transaction = opened().transaction(["items", "queue"]);
  const items = transaction.objectStore("items");
  const queue = done(transaction.objectStore("queue").getAll());
  if (ids) return { items: await Promise.all(ids.map((id) => done(items.get(id)))), queue: await queue };
  /** @type {Item[]} */
  const found = [];
  for (;;) {
    const after = found.at(-1);
    const part = await done(items.getAll(after && IDBKeyRange.lowerBound(after.id, true), 250));
    found.push(...part);
    if (part.length < 250) return { items: found, queue: await queue };
  }
}

/** @param {string} name */
const read = (name) => opened().transaction(name).objectStore(name);

/** @returns {Promise<Entry[]>} */
export const queue = () => done(read("queue").getAll());

/** @param {string} key */
export const meta = (key) => done(read("meta").get(key));
