// Sends what waits, in order, and then learns what changed elsewhere. Both may be
// cut off at any point and are done again: a creation has its key, a change the ETag
// of the version it was made on, and the API recognises a repeat.

import * as api from "./api.js";
import { Unreachable } from "./auth.js";
import * as store from "./store.js";

/**
 * A change that waits:
 *   seq      its place in the line
 *   op       "create", "change" or "delete"
 *   id       the item's, or for one that the server has not made yet, its key
 *   key      of a creation
 *   method, body, etag   of the request; members as they were typed, and whether they are whole
 *   item     how the item looks with it
 *   sent     whether it may have reached the server: it stays as it is then
 *   problem  why the server refused it; theirs, after a 412, is the item as it is
 */

// What our own changes have made of keys and ETags that a row on the page, or on that
// of another tab, may still show: who edits such a row has seen the change.
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

function latest(item) {
  let etag = item.etag ?? became.get(`etag of ${item.id}`);
  while (became.has(etag)) etag = became.get(etag);
  return { ...item, id: idNow(item.id), etag };
}

/** What an item's ID is by now: one that was just made had its key in its place. */
export const idNow = (id) => became.get(id) ?? id;

/** Puts a creation in the line. */
export function create(draft) {
  const key = crypto.randomUUID();
  const now = new Date().toISOString();
  return store.change(({ queue }) => {
    queue.add({ op: "create", id: key, key, body: bodyOf(draft.members), members: draft.members, item: { id: key, ...draft.shown, createdAt: now, updatedAt: now } });
  });
}

/**
 * Puts a change of an item in the line; what waits and was not sent is changed
 * itself. Members that the draft lacks stay as they are, digit for digit.
 */
export function edit(seen, draft) {
  const item = latest(seen);
  return store.change(async ({ queue, done }) => {
    const waiting = (await done(queue.getAll())).filter((e) => e.id === item.id);
    const last = waiting.at(-1);
    const open = last && (!last.sent || last.problem); // the server has nothing of it
    const members = { ...(open ? last.members : {}), ...draft.members };
    const whole = draft.whole || Boolean(open && last.whole);
    const shown = { ...item, ...draft.shown };
    if (open && last.op === "create") {
      queue.put({ ...last, body: bodyOf(members), members, item: shown, problem: undefined });
      return;
    }
    if (open) queue.delete(last.seq);
    queue.add({
      op: "change",
      id: item.id,
      method: whole ? "PUT" : "PATCH",
      body: bodyOf(members),
      members,
      whole,
      etag: last?.theirs?.etag ?? last?.etag ?? item.etag,
      item: shown,
    });
  });
}

/** Puts a deletion in the line. */
export function remove(seen) {
  const item = latest(seen);
  return store.change(async ({ queue, done }) => {
    let etag = item.etag;
    for (const e of (await done(queue.getAll())).filter((e) => e.id === item.id)) {
      if (e.sent && !e.problem) continue;
      queue.delete(e.seq);
      if (e.op === "create") return; // nobody but us knows it
      etag = e.theirs?.etag ?? e.etag;
    }
    queue.add({ op: "delete", id: item.id, etag, item });
  });
}

/** Takes a refused change out of the line. */
export const drop = (entry) => store.change(({ queue }) => queue.delete(entry.seq));

/** Sends a refused change again, after a 412 for the version that there is now. */
export const retry = (entry) =>
  store.change(({ queue }) =>
    queue.put({ ...entry, etag: entry.theirs?.etag ?? entry.etag, sent: false, problem: undefined, theirs: undefined }),
  );

// Members go as they were typed, so that numbers keep their digits.
function bodyOf(members) {
  const typed = Object.entries(members).filter(([, json]) => json !== undefined);
  return `{${typed.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",")}}`;
}

/** The items as they will be when all is sent, newest first. */
export async function view() {
  const { items, queue } = await store.everything();
  const shown = new Map(items.map((item) => [item.id, { item }]));
  for (const entry of queue) {
    shown.set(entry.id, { item: { ...shown.get(entry.id)?.item, ...entry.item, etag: shown.get(entry.id)?.item.etag }, entry });
  }
  return [...shown.values()].sort((a, b) => (a.item.createdAt < b.item.createdAt ? 1 : -1));
}

/** How many changes wait to be sent; what was refused waits for the person. */
export const waiting = async () => (await store.queue()).filter((e) => !e.problem).length;

/**
 * Sends and learns, in one tab at a time. Returns {waiting, retryAfter, problem}:
 * how many changes still wait, in how many seconds to try again, and what the server
 * says to all of them (a refused token, say). The end of the person's session cuts it
 * off.
 */
export function run() {
  const { owner, session } = store.person;
  return navigator.locks.request(`sync of ${owner}`, { signal: session.signal }, async () => {
    if (!navigator.onLine) throw new Unreachable("There is no network.");
    const stopped = (await flush()) ?? (await learn());
    return { waiting: await waiting(), ...stopped };
  });
}

// What the database holds is its owner's, and so is every call about it.
const call = (...request) => api.call(store.person, ...request);

async function flush() {
  for (;;) {
    const entry = await take();
    if (!entry) return null;
    const { status, data, problem } = await send(entry);
    if (!problem) {
      await finish(entry, data);
    } else if (status >= 500 || status === 429) {
      return { retryAfter: problem.retryAfter ?? 5, problem };
    } else if (status === 401 || (status === 403 && !problem.errors)) {
      await store.change(({ queue }) => queue.put({ ...entry }));
      return { problem }; // it is not about this change
    } else if (status === 404 && entry.op === "delete") {
      await finish(entry, { id: entry.id, deleted: true });
    } else {
      let theirs;
      if (status === 412) {
        const now = await call("GET", `${api.collection}/${entry.id}`);
        theirs = now.data ?? undefined;
      }
      await store.change(({ queue }) => queue.put({ ...entry, sent: true, problem, theirs }));
    }
  }
}

// Takes the next change from the line and marks it as sent, at once: from then on an
// edit of the same item is a change of its own. An item is blocked while a change of
// it that was refused waits for the person.
function take() {
  const blocked = new Set();
  return store.change(async ({ queue, done }) => {
    for (const entry of await done(queue.getAll())) {
      if (entry.problem) blocked.add(entry.id);
      if (blocked.has(entry.id)) continue;
      queue.put({ ...entry, sent: true });
      return entry;
    }
    return null;
  });
}

function send(entry) {
  const path = `${api.collection}/${entry.id}`;
  switch (entry.op) {
    case "create":
      return call("POST", api.collection, { body: entry.body, headers: { "Idempotency-Key": entry.key } });
    case "change":
      return call(entry.method, path, { body: entry.body, headers: { "If-Match": entry.etag } });
    case "delete":
      return call("DELETE", path, { headers: { "If-Match": entry.etag } });
  }
}

// Takes the server's answer, and has the changes after it follow: they were made on
// a version that is known only now.
function finish(entry, answer) {
  if (entry.op === "create") {
    becomes(entry.id, answer.id);
    becomes(`etag of ${entry.id}`, answer.etag);
  }
  if (entry.op === "change") becomes(entry.etag, answer.etag);
  return store.change(async ({ items, queue, done }) => {
    queue.delete(entry.seq);
    if (answer.deleted) items.delete(answer.id);
    else items.put(answer);
    for (const later of await done(queue.getAll())) {
      if (later.id === entry.id && later.seq !== entry.seq) {
        queue.put({ ...later, id: answer.id, etag: answer.etag, item: { ...later.item, id: answer.id } });
      }
    }
  });
}

async function learn() {
  const known = await store.meta("deltaLink");
  let link = known ?? `${api.collection}/delta?limit=200`;
  const named = new Set();
  for (;;) {
    const { status, data, problem } = await call("GET", link);
    if (status === 410) {
      await store.change(({ meta }) => meta.delete("deltaLink"));
      return learn(); // from the start
    }
    if (problem) return status >= 500 ? { retryAfter: problem.retryAfter ?? 5, problem } : { problem };
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
