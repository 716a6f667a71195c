// Learns what changed elsewhere, and sends what waits, up to 40 changes at once. Both
// may be cut off at any point and are done again: what was sent is sent again as it
// was, under its key, until its answer is known.

import * as api from "./api.js";
import * as json from "./json.js";
import * as store from "./store.js";

/** @typedef {import("./page.js").Problem} Problem */
/** @typedef {import("./store.js").Stores} Stores */
/** @typedef {{id: string, createdAt: string, updatedAt: string, etag?: string, [member: string]: any}} Item */

/**
 * What is to be sent of an item: members have the JSON as it was typed, undefined takes
 * one away; whole says that nothing else is left of the content, and shown is how the
 * page shows it until the answer comes.
 * @typedef {{members: Record<string, string | undefined>, whole: boolean, shown: Record<string, any>}} Draft
 */

/**
 * A change that waits:
 *   seq      its place in the line
 *   at       when it was made, by the device's clock
 *   op       "create", "change" or "delete"
 *   id       the item's
 *   etag     of the version that it was made on
 *   members  as they were typed; whole says that nothing else is left of the content
 *   item     how the item looks with it
 *   batch    the key under which it may have reached the server: it stays as it is then
 *   problem  why the server refused it; theirs, after a 412, is the item as it is
 * @typedef {{seq: number, at: number, op: "create" | "change" | "delete", id: string, etag?: string,
 *   members?: Record<string, string | undefined>, whole?: boolean, item: Item, batch?: string, problem?: Problem,
 *   theirs?: Item}} Entry
 */

/**
 * What becomes of a change that was sent.
 * @typedef {{answer?: any, id?: string, clock?: number, problem?: Problem, theirs?: Item, stop?: Why}} Outcome
 */

/** How it went: why is a problem that concerns all changes, and retryAfter in how many seconds to try again.
 * @typedef {{retryAfter?: number, problem?: Problem, status?: number} | null} Why
 */

// What our own changes have made of ETags, and of IDs that the server refused, that a
// row on the page, or on that of another tab, may still show: who edits such a row has
// seen the change.
/** @type {Map<string, string>} */
const became = new Map();

/**
 * Takes what another tab tells.
 * @param {{became: [string, string]}} message
 */
export const heard = ({ became: [was, is] }) => became.set(was, is);

export const stop = () => became.clear();

/**
 * @param {string} was
 * @param {string} is
 */
function becomes(was, is) {
  became.set(was, is);
  store.tell({ became: [was, is] });
}

/**
 * @param {string} it
 * @returns {string}
 */
function now(it) {
  const is = became.get(it);
  return is === undefined ? it : now(is);
}

/** @param {string} id */
const firstETag = (id) => `etag of ${id}`; // until it is known

/**
 * A UUIDv7 of that time.
 * @param {number} time in ms
 */
function newID(time) {
  const hex = time.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${crypto.randomUUID().slice(15)}`;
}

const ownMembers = ["id", "createdAt", "updatedAt", "etag"]; // the server's

/**
 * An item as it would be typed, to create it again.
 * @param {Record<string, any>} item
 * @returns {Draft}
 */
export function draftOf(item) {
  const shown = Object.fromEntries(Object.entries(item).filter(([name]) => !ownMembers.includes(name)));
  const members = Object.fromEntries(Object.entries(shown).map(([name, value]) => [name, json.stringify(value)]));
  return { members, whole: true, shown };
}

const day = 24 * 3600_000;

/**
 * Puts a creation in the line; time is what the item is to be of, of the last weeks.
 * @param {Draft} draft
 * @param {number} [wanted] in ms
 */
export const create = ({ members, shown }, wanted = Infinity) =>
  store.change(async ({ queue, meta, done }) => {
    const at = Date.now();
    const here = at + ((await done(meta.get("clock"))) ?? 0);
    const time = wanted > here || wanted < here - 28 * day ? here : wanted;
    const createdAt = new Date(time).toISOString();
    const item = { id: newID(time), ...shown, createdAt, updatedAt: createdAt };
    queue.add({ op: "create", at, id: item.id, members, item });
  });

/**
 * Puts a change in the line, or nothing, in place of those of the item that the server
 * has nothing of, which it returns.
 * @param {{id: string, etag?: string}} seen
 * @param {(item: any, open: Entry[]) => object | null | false} make
 * @returns {Promise<Entry[]>}
 */
function replace(seen, make) {
  const id = now(seen.id);
  return store.change(async ({ queue, done }) => {
    /** @type {Entry[]} */
    const open = (await done(queue.getAll())).filter((e) => e.id === id && !e.batch);
    for (const e of open) queue.delete(e.seq);
    const etag = open[0]?.theirs?.etag ?? open[0]?.etag ?? now(seen.etag ?? firstETag(id));
    const change = make({ ...seen, id }, open);
    if (change) queue.put({ at: Date.now(), id, etag, ...change });
    return open;
  });
}

/**
 * Puts a change of an item in the line; what waits and was not sent is changed
 * itself. Members that the draft lacks stay as they are, digit for digit.
 * @param {Item} seen
 * @param {Draft} draft
 */
export const edit = (seen, draft) =>
  replace(seen, (item, open) => ({
    op: "change",
    members: Object.assign({}, ...open.map((e) => e.members), draft.members),
    whole: draft.whole || open.some((e) => e.whole),
    item: { ...item, ...draft.shown },
    ...(open[0]?.op === "create" && { op: "create", seq: open[0].seq, etag: undefined }),
  }));

/**
 * Puts a deletion in the line; what nobody but us has is gone. Returns what undoes it:
 * a deletion that was sent meanwhile is made good by creating the item again, which has
 * another ID then.
 * @param {Item} seen
 */
export async function remove(seen) {
  const open = await replace(seen, (item, [first]) => first?.op !== "create" && { op: "delete", item });
  return async () => {
    const id = now(seen.id);
    const undone = await store.change(async ({ queue, done }) => {
      const waits = (await done(queue.getAll())).find((e) => e.id === id && e.op === "delete" && !e.batch);
      if (!waits && open[0]?.op !== "create") return false;
      if (waits) queue.delete(waits.seq);
      for (const entry of open) queue.put(entry);
      return true;
    });
    if (!undone) await create(draftOf(seen), Date.parse(seen.createdAt));
  };
}

/**
 * Takes a refused change out of the line, and what was made on it.
 * @param {Entry} entry
 */
export const drop = (entry) => replace(entry, () => null);

/**
 * Sends a refused change again, after a 412 for the version that there is now.
 * @param {Entry} entry
 */
export const retry = (entry) =>
  store.change(({ queue }) => queue.put({ ...entry, etag: entry.theirs?.etag ?? entry.etag, problem: undefined, theirs: undefined }));

/** How many changes wait to be sent; what was refused waits for the person. */
export const waiting = async () => (await store.queue()).filter((e) => !e.problem).length;

/**
 * Learns and sends, in one tab at a time. Returns {dropped, retryAfter, problem,
 * status}: {count, erasedAt} of the changes that an erasure elsewhere dropped, in how
 * many seconds to try again, and what the server says to all of them (a refused token,
 * say). The end of the person's session cuts it off. asked is called once it is this
 * tab's turn.
 * @param {() => void} [asked]
 * @returns {Promise<{dropped?: {count: number, erasedAt: string}} & NonNullable<Why>>}
 */
export async function run(asked = () => {}) {
  const { owner, session } = whose();
  return await navigator.locks.request(`sync of ${owner}`, { signal: session.signal }, async () => {
    asked();
    let why = await learn(); // first, as nothing is to be sent that was erased
    if (!why && (await waiting())) why = (await flush()) ?? (await learn());
    return { dropped: await store.meta("dropped"), ...why };
  });
}

function whose() {
  if (!store.person) throw new Error("nobody's database is open");
  return store.person;
}

/** Forgets what was dropped: the person has been told. */
export const told = () => store.change(({ meta }) => meta.delete("dropped"));

/**
 * What the database holds is its owner's, and so is every call about it.
 * @param {string} method
 * @param {string} path
 * @param {{headers?: Record<string, string>, body?: string}} [request]
 */
const call = (method, path, request) => api.call(whose(), method, path, request);

/**
 * @param {number} status
 * @param {Problem} problem
 * @returns {Why}
 */
const stopped = (status, problem) => ({ retryAfter: problem.retryAfter, problem, status });

/** @returns {Promise<Why>} */
async function flush() {
  let most = 40;
  /** @type {Set<string>} */
  const renewed = new Set(); // IDs
  for (;;) {
    const { entries, batch, again } = await take(most);
    if (!entries.length) return null;
    const body = `{"changes":[${entries.map(changeOf)}]}`;
    const { status, data, problem } = await call("POST", `${api.collection}/batch`, { body, headers: { "Idempotency-Key": batch } });
    if (problem && (status >= 500 || status === 429)) return stopped(status, problem);
    /** @type {Outcome[]} */
    let outcomes = [];
    const faults = faultsOf(problem);
    if (!problem) {
      outcomes = data.value.map((/** @type {any} */ answer) => ({ answer }));
    } else if (faults.size) {
      for (const [n, its] of faults) {
        outcomes[n] = await judge(entries[n], n, its, problem, renewed);
        if (outcomes[n].stop) return outcomes[n].stop; // they stay as they are, and are sent again
      }
    } else if (![400, 408, 413, 422].includes(status)) {
      if (!again) await settle(entries, outcomes);
      return { problem, status }; // it is not about these changes
    } else if (entries.length > 1) {
      most = Math.ceil(entries.length / 2); // together they are too large, or one cannot be read
    } else {
      outcomes = [{ problem }];
      most = 40;
    }
    await settle(entries, outcomes);
  }
}

/**
 * Takes the next changes from the line and marks them as sent, at once: from then on
 * an edit of such an item is a change of its own. Each item has one at most, and none
 * while one that was refused waits for the person.
 * @param {number} most
 * @returns {Promise<{entries: Entry[], batch: string, again?: boolean}>}
 */
function take(most) {
  return store.change(async ({ queue, done }) => {
    /** @type {Entry[]} */
    const line = await done(queue.getAll());
    const sent = line.filter((e) => e.batch);
    if (sent[0]?.batch) return { entries: sent, batch: sent[0].batch, again: true };
    const batch = crypto.randomUUID();
    /** @type {Entry[]} */
    const entries = [];
    const ids = new Set();
    let room = 2_000_000; // bytes
    for (const entry of line) {
      if (ids.has(entry.id)) continue;
      ids.add(entry.id);
      if (entry.problem) continue;
      room -= new Blob([changeOf(entry)]).size;
      if (entries.length && (room < 0 || entries.length === most)) break;
      entries.push(entry);
      queue.put({ ...entry, batch });
    }
    return { entries, batch };
  });
}

/**
 * Members go as they were typed, so that numbers keep their digits.
 * @param {Record<string, string | undefined>} members
 */
function object(members) {
  const typed = Object.entries(members).filter(([, json]) => json !== undefined);
  return `{${typed.map(([name, json]) => `${JSON.stringify(name)}:${json}`)}}`;
}

/** @param {Entry} entry */
function changeOf({ op, id, etag, members = {}, whole }) {
  const kind = op !== "change" ? op : whole ? "replace" : "patch";
  const content = kind === "patch" ? { merge: object(members) } : members;
  return object({ [kind]: object({ id: JSON.stringify(id), etag: JSON.stringify(etag), ...content }) });
}

/**
 * What is wrong with which change, by its place; pointers are into its content then.
 * @param {Problem | null} problem
 */
function faultsOf(problem) {
  /** @type {Map<number, NonNullable<Problem["errors"]>>} */
  const faults = new Map();
  for (const fault of problem?.errors ?? []) {
    const [, n, pointer] = /^\/changes\/(\d+)(?:\/\w+)?(?:\/merge)?(.*)/.exec(fault.pointer) ?? [];
    if (n) faults.set(+n, [...(faults.get(+n) ?? []), { ...fault, pointer }]);
  }
  return faults;
}

/**
 * What is to become of a change that failed.
 * @param {Entry} entry
 * @param {number} n
 * @param {NonNullable<Problem["errors"]>} errors
 * @param {Problem} problem
 * @param {Set<string>} renewed
 * @returns {Promise<Outcome>}
 */
async function judge({ op, id }, n, errors, problem, renewed) {
  const [{ code = problem.code, pointer, detail = "" }] = errors;
  if (op === "delete" && code === "item.not_found") return { answer: { deleted: true } };
  if (op === "create" && pointer === "/id" && !renewed.has(id)) {
    // The device's clock is off, or it has waited for long; the server says what time it is.
    const time = Date.parse(detail.match(/\d{4}-\S+Z/g)?.at(-1) ?? "") || Date.now();
    const another = newID(time + n);
    renewed.add(another);
    return { id: another, clock: time - Date.now() };
  }
  const title = code === problem.code ? problem.title : "This change was refused";
  /** @type {{problem: Problem}} */
  const refused = { problem: { title, code, detail } };
  if (pointer) Object.assign(refused.problem, { detail: undefined, errors });
  if (code !== "item.changed" && code !== "item.exists") return refused;
  const there = await call("GET", `${api.collection}/${id}`);
  if (there.problem && there.status !== 404) return { stop: stopped(there.status, there.problem) };
  if (code === "item.exists") return { answer: there.data ?? { deleted: true } }; // it was us
  return { ...refused, theirs: there.data ?? undefined };
}

/**
 * Takes the server's answers, and has the changes after these follow: they were made
 * on a version, or an ID, that is known only now.
 * @param {Entry[]} entries
 * @param {Outcome[]} outcomes
 */
function settle(entries, outcomes) {
  return store.change(async ({ items, queue, meta, done }) => {
    /** @type {Entry[]} */
    const line = await done(queue.getAll());
    entries.forEach((entry, n) => {
      const { answer, id = entry.id, clock, ...refused } = outcomes[n] ?? {};
      const { etag } = answer ?? entry;
      const item = { ...entry.item, id };
      if (id !== entry.id) becomes(entry.id, id);
      if (clock !== undefined) meta.put(clock, "clock");
      if (!answer) {
        queue.put({ ...entry, batch: undefined, id, item, ...refused });
      } else {
        queue.delete(entry.seq);
        if (answer.deleted) items.delete(id);
        else becomes(entry.etag ?? firstETag(id), etag);
        // A repeat is answered with ID and ETag alone, and has been learnt.
        if (answer.createdAt) items.put(answer);
      }
      for (const later of line) {
        if (later.id === entry.id && later.seq !== entry.seq) queue.put({ ...later, id, etag, item: { ...later.item, id } });
      }
    });
  });
}

/** @returns {Promise<Why>} */
async function learn() {
  const known = await store.meta("deltaLink");
  let link = known ?? `${api.collection}/delta?limit=200`;
  /** @type {Set<IDBValidKey>} */
  const named = new Set();
  for (;;) {
    const { status, data, problem } = await call("GET", link);
    if (status === 410 && problem) {
      await forget(problem);
      return learn(); // from the start
    }
    if (problem) return stopped(status, problem);
    await store.change(async ({ items, meta, done }) => {
      for (const entry of data.value) {
        named.add(entry.id);
        if (entry.deleted) items.delete(entry.id);
        else items.put(entry);
      }
      if (!data.deltaLink) return;
      if (!known) {
        // A first delta names all that there is.
        for (const id of await done(items.getAllKeys())) if (!named.has(id)) items.delete(String(id));
      }
      meta.put(data.deltaLink, "deltaLink");
    });
    if (data.deltaLink) return null;
    link = data.nextLink;
  }
}

/**
 * Everything was erased elsewhere, it may be, and what waited then with it.
 * @param {Problem} problem
 */
function forget({ erasedAt }) {
  return store.change(async ({ queue, meta, done }) => {
    meta.delete("deltaLink");
    if (!erasedAt) return;
    const clock = (await done(meta.get("clock"))) ?? 0;
    let { count } = (await done(meta.get("dropped"))) ?? { count: 0 };
    for (const { batch, ...entry } of await done(queue.getAll())) {
      if (entry.at + clock < Date.parse(erasedAt)) {
        queue.delete(entry.seq);
        count++;
      } else if (batch) {
        queue.put(entry); // the others of its batch may be gone
      }
    }
    if (count) meta.put({ count, erasedAt }, "dropped");
  });
}
