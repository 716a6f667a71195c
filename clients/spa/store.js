// What is kept on this device: items as the server has them, and the changes that
// wait to be sent. Each account has a database of its own, so that nobody's changes
// are sent as somebody else's.

let db;

/** Opens the account's database. */
export async function open(account) {
  db?.close();
  const request = indexedDB.open(`items of ${account}`, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("items", { keyPath: "id" });
    request.result.createObjectStore("queue", { keyPath: "seq", autoIncrement: true });
    request.result.createObjectStore("meta");
  };
  db = await done(request);
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Does several things at once or not at all; work gets the object stores. */
export function change(work) {
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(["items", "queue", "meta"], "readwrite", { durability: "strict" });
    const store = (name) => transaction.objectStore(name);
    let result;
    transaction.oncomplete = () => resolve(result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
    Promise.resolve(work({ items: store("items"), queue: store("queue"), meta: store("meta"), done })).then(
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
