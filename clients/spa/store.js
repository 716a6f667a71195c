// What is kept on this device: items as the server has them, and the changes that
// wait to be sent. Each person has a database of their own, and what is sent from it
// goes with a token of theirs (person), so that nobody's changes are sent as somebody
// else's.

let db;

/** Whose database is open, from auth.current(). */
export let person = null;

const nameOf = (who) => `items of ${who.owner}`;

/**
 * Opens the person's database. gone is called when another tab deletes it, or the
 * browser does.
 */
export async function open(who, gone) {
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
}

// A database that is to be deleted opens after that, which waits for all who have it open.
async function inTime(request) {
  const held = "Another tab or window holds on to what was kept for you here. Close it, and load this page again.";
  let late;
  const deadline = new Promise((_, reject) => (late = setTimeout(() => reject(new Error(held)), 5000)));
  try {
    return await Promise.race([done(request), deadline]);
  } catch (error) {
    request.onsuccess = () => request.result.close();
    throw error;
  } finally {
    clearTimeout(late);
  }
}

export function close() {
  db?.close();
  db = person = null;
}

/**
 * Empties the database for good, unless more changes wait in it than the person has
 * agreed to lose: then it returns how many, and all is as it was.
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

/** Deletes the person's database, once every tab has closed it; it is empty already. */
export function remove(who) {
  const deleted = done(indexedDB.deleteDatabase(nameOf(who))).catch(() => {});
  return Promise.race([deleted, new Promise((resolve) => setTimeout(resolve, 2000))]);
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * Does several things at once or not at all; work gets the object stores. Nothing is
 * kept any more in a database that was emptied.
 */
export function change(work) {
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(["items", "queue", "meta"], "readwrite", { durability: "strict" });
    const store = (name) => transaction.objectStore(name);
    let result;
    transaction.oncomplete = () => resolve(result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
    const attempt = async () => {
      if (await done(store("meta").get("emptied"))) throw new Error("you have signed out");
      return work({ items: store("items"), queue: store("queue"), meta: store("meta"), done });
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

/** Items and line as they are at one moment: an item that was just sent is in one of them. */
export async function everything() {
  const transaction = db.transaction(["items", "queue"]);
  const [items, queue] = await Promise.all(["items", "queue"].map((name) => done(transaction.objectStore(name).getAll())));
  return { items, queue };
}

const read = (name) => db.transaction(name).objectStore(name);

export const queue = () => done(read("queue").getAll());
export const meta = (key) => done(read("meta").get(key));
