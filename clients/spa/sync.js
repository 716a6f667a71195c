// Learns what changed elsewhere, and sends what waits, up to 40 changes at once. Both
// may be cut off at any point and are done again: what was sent is sent again as it
// was, under its key, until its answer is known.

import * as api from "./api.js";
import { Unreachable } from "./auth.js";
import * as store from "./store.js";

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
 */

// What our own changes have made of ETags, and of IDs that the server refused, that a
// row on the page, or on that of another tab, may still show: who edits such a row has
// seen the change.
const became = new Map();
let tabs; // of the same person

/** Listens to the person's other tabs. */
export function start(who) {
  tabs = new BroadcastChannel(`became of ${who.owner}`);
  tabs.onmessage = ({ data: [was, is] }) => became.set(was, is);
}

export function stop() {
  tabs?.close();
  became.clear();
}

function becomes(was, is) {
  became.set(was, is);
  tabs.postMessage([was, is]);
}

const now = (it) => (became.has(it) ? now(became.get(it)) : it);

const firstETag = (id) => `etag of ${id}`; // until it is known

// A UUIDv7 of that time.
function newID(time) {
  const hex = time.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${crypto.randomUUID().slice(15)}`;
}

/** Puts a creation in the line. */
export const create = ({ members, shown }) =>
  store.change(async ({ queue, meta, done }) => {
    const at = Date.now();
    const time = at + ((await done(meta.get("clock"))) ?? 0);
    const createdAt = new Date(time).toISOString();
    const item = { id: newID(time), ...shown, createdAt, updatedAt: createdAt };
    queue.add({ op: "create", at, id: item.id, members, item });
  });

// Puts a change in the line, or nothing, in place of those of the item that the server
// has nothing of.
function replace(seen, make) {
  const id = now(seen.id);
  return store.change(async ({ queue, done }) => {
    const open = (await done(queue.getAll())).filter((e) => e.id === id && !e.batch);
    for (const e of open) queue.delete(e.seq);
    const etag = open[0]?.theirs?.etag ?? open[0]?.etag ?? now(seen.etag ?? firstETag(id));
    const change = make({ ...seen, id }, open);
    if (change) queue.put({ at: Date.now(), id, etag, ...change });
  });
}

/**
 * Puts a change of an item in the line; what waits and was not sent is changed
 * itself. Members that the draft lacks stay as they are, digit for digit.
 */
export const edit = (seen, draft) =>
  replace(seen, (item, open) => ({
    op: "change",
    members: Object.assign({}, ...open.map((e) => e.members), draft.members),
    whole: draft.whole || open.some((e) => e.whole),
    item: { ...item, ...draft.shown },
    ...(open[0]?.op === "create" && { op: "create", seq: open[0].seq, etag: undefined }),
  }));

/** Puts a deletion in the line; what nobody but us has is gone. */
export const remove = (seen) => replace(seen, (item, [first]) => first?.op !== "create" && { op: "delete", item });

/** Takes a refused change out of the line, and what was made on it. */
export const drop = (entry) => replace(entry, () => null);

/** Sends a refused change again, after a 412 for the version that there is now. */
export const retry = (entry) =>
  store.change(({ queue }) => queue.put({ ...entry, etag: entry.theirs?.etag ?? entry.etag, problem: undefined, theirs: undefined }));

/** The items as they will be when all is sent, newest first. */
export async function view() {
  const { items, queue } = await store.everything();
  const shown = new Map(items.map((item) => [item.id, { item }]));
  for (const entry of queue) {
    const before = shown.get(entry.id);
    const item = { ...before?.item, ...entry.item, etag: before?.item.etag };
    shown.set(entry.id, { item, entry: before?.entry?.problem ? before.entry : entry });
  }
  return [...shown.values()].sort((a, b) => (a.item.createdAt < b.item.createdAt ? 1 : -1));
}

/** How many changes wait to be sent; what was refused waits for the person. */
export const waiting = async () => (await store.queue()).filter((e) => !e.problem).length;

/**
 * Learns and sends, in one tab at a time. Returns {waiting, dropped, retryAfter,
 * problem}: how many changes still wait, {count, erasedAt} of those that an erasure
 * elsewhere dropped, in how many seconds to try again, and what the server says to all
 * of them (a refused token, say). The end of the person's session cuts it off.
 */
export function run() {
  const { owner, session } = store.person;
  return navigator.locks.request(`sync of ${owner}`, { signal: session.signal }, async () => {
    if (!navigator.onLine) throw new Unreachable("There is no network.");
    let why = await learn(); // first, as nothing is to be sent that was erased
    if (!why && (await waiting())) why = (await flush()) ?? (await learn());
    return { waiting: await waiting(), dropped: await store.meta("dropped"), ...why };
  });
}

/** Forgets what was dropped: the person has been told. */
export const told = () => store.change(({ meta }) => meta.delete("dropped"));

// What the database holds is its owner's, and so is every call about it.
const call = (...request) => api.call(store.person, ...request);

const stopped = (status, problem) => ({ retryAfter: problem.retryAfter ?? (status >= 500 ? 5 : undefined), problem });

async function flush() {
  let most = 40;
  const renewed = new Set(); // IDs
  for (;;) {
    const { entries, batch, again } = await take(most);
    if (!entries.length) return null;
    const body = `{"changes":[${entries.map(changeOf)}]}`;
    const { status, data, problem } = await call("POST", `${api.collection}/batch`, { body, headers: { "Idempotency-Key": batch } });
    if (status >= 500 || status === 429) return stopped(status, problem);
    let outcomes = [];
    const faults = faultsOf(problem);
    if (!problem) {
      outcomes = data.value.map((answer) => ({ answer }));
    } else if (faults.size) {
      for (const [n, its] of faults) {
        outcomes[n] = await judge(entries[n], n, its, problem, renewed);
        if (outcomes[n].stop) return outcomes[n].stop; // they stay as they are, and are sent again
      }
    } else if (![400, 408, 413, 422].includes(status)) {
      if (!again) await settle(entries, outcomes);
      return { problem }; // it is not about these changes
    } else if (entries.length > 1) {
      most = Math.ceil(entries.length / 2); // together they are too large, or one cannot be read
    } else {
      outcomes = [{ problem }];
      most = 40;
    }
    await settle(entries, outcomes);
  }
}

// Takes the next changes from the line and marks them as sent, at once: from then on
// an edit of such an item is a change of its own. Each item has one at most, and none
// while one that was refused waits for the person.
function take(most) {
  return store.change(async ({ queue, done }) => {
    const line = await done(queue.getAll());
    const sent = line.filter((e) => e.batch);
    if (sent.length) return { entries: sent, batch: sent[0].batch, again: true };
    const batch = crypto.randomUUID();
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

// Members go as they were typed, so that numbers keep their digits.
function object(members) {
  const typed = Object.entries(members).filter(([, json]) => json !== undefined);
  return `{${typed.map(([name, json]) => `${JSON.stringify(name)}:${json}`)}}`;
}

function changeOf({ op, id, etag, members, whole }) {
  const kind = op !== "change" ? op : whole ? "replace" : "patch";
  const content = kind === "patch" ? { merge: object(members) } : members;
  return object({ [kind]: object({ id: JSON.stringify(id), etag: JSON.stringify(etag), ...content }) });
}

// What is wrong with which change, by its place; pointers are into its content then.
function faultsOf(problem) {
  const faults = new Map();
  for (const fault of problem?.errors ?? []) {
    const [, n, pointer] = /^\/changes\/(\d+)(?:\/\w+)?(?:\/merge)?(.*)/.exec(fault.pointer) ?? [];
    if (n) faults.set(+n, [...(faults.get(+n) ?? []), { ...fault, pointer }]);
  }
  return faults;
}

// What is to become of a change that failed.
async function judge({ op, id }, n, errors, problem, renewed) {
  const [{ code = problem.code, pointer, detail }] = errors;
  if (op === "delete" && code === "item.not_found") return { answer: { deleted: true } };
  if (op === "create" && pointer === "/id" && !renewed.has(id)) {
    // The device's clock is off, or it has waited for long; the server says what time it is.
    const time = Date.parse(detail.match(/\d{4}-\S+Z/g)?.at(-1)) || Date.now();
    const another = newID(time + n);
    renewed.add(another);
    return { id: another, clock: time - Date.now() };
  }
  const title = code === problem.code ? problem.title : "This change was refused";
  const refused = { problem: { title, code, detail } };
  if (pointer) Object.assign(refused.problem, { detail: undefined, errors });
  if (code !== "item.changed" && code !== "item.exists") return refused;
  const there = await call("GET", `${api.collection}/${id}`);
  if (there.problem && there.status !== 404) return { stop: stopped(there.status, there.problem) };
  if (code === "item.exists") return { answer: there.data ?? { deleted: true } }; // it was us
  return { ...refused, theirs: there.data ?? undefined };
}

// Takes the server's answers, and has the changes after these follow: they were made
// on a version, or an ID, that is known only now.
function settle(entries, outcomes) {
  return store.change(async ({ items, queue, meta, done }) => {
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

async function learn() {
  const known = await store.meta("deltaLink");
  let link = known ?? `${api.collection}/delta?limit=200`;
  const named = new Set();
  for (;;) {
    const { status, data, problem } = await call("GET", link);
    if (status === 410) {
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
        for (const id of await done(items.getAllKeys())) if (!named.has(id)) items.delete(id);
      }
      meta.put(data.deltaLink, "deltaLink");
    });
    if (data.deltaLink) return null;
    link = data.nextLink;
  }
}

// Everything was erased elsewhere, it may be, and what waited then with it.
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
