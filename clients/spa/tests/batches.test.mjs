// What waits is sent as batches: how many, what of them is refused, and what is done
// again.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { API_URL, batches, browser, changesOf, create, edit, item, long, look, save, sentBy, signIn, state, textField, textPointer, token, unanswered, upToDate, visit } from "./world.mjs";

after(() => browser.close());

const text = textPointer.slice(1);
const down = ["net::ERR_INTERNET_DISCONNECTED", "net::ERR_FAILED"];

/** Calls the API as the user, from another device. */
async function ask(user, method, path, body, headers) {
  const answer = await fetch(API_URL + path, {
    method,
    body: body && JSON.stringify(body),
    headers: { Authorization: `Bearer ${await token(user)}`, "Content-Type": "application/json", ...headers },
  });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}

/** The user's items, by their text; each has it once. */
async function listed(user) {
  const all = [];
  let link = "/api/items?limit=200";
  for (; link; link = all.at(-1).nextLink) all.push(await ask(user, "GET", link));
  const items = all.flatMap(({ value }) => value);
  const byText = Object.fromEntries(items.map((item) => [item[text], item]));
  assert.equal(Object.keys(byText).length, items.length, `one stands twice: ${items.map((item) => item[text]).sort()}`);
  return byText;
}

const put = async (user, from, to) => {
  const there = (await listed(user))[from];
  return ask(user, "PUT", `/api/items/${there.id}`, { [text]: to }, { "If-Match": there.etag });
};

const erase = (user) => ask(user, "POST", "/api/items/erase", { confirm: "erase everything" });

/** Puts changes in the line as the page does, many at once; each is [what, text, new text]. */
const line = (page, changes) =>
  page.evaluate(
    async ([text, changes]) => {
      const [sync, { view }] = [await import("./sync.js"), await import("./view.js")];
      const { draftOf } = sync;
      const draft = (to) => draftOf({ [text]: to });
      const part = (to) => ({ members: { [text]: JSON.stringify(to) }, whole: false, shown: { [text]: to } });
      const rows = new Map((await view()).map(({ item }) => [item[text], item]));
      for (const [what, name, to] of changes) {
        if (what === "create") await sync.create(draft(name));
        else if (what === "remove") await sync.remove(rows.get(name));
        else await sync.edit(rows.get(name), what === "patch" ? part(to) : draft(to));
      }
    },
    [text, changes],
  );

const each = (n, change) => Array.from({ length: n }, (_, i) => change(i));

/** Waits until the line is empty, but for what was refused. */
async function allSent(page) {
  const left = await page.evaluate(async () => {
    const { waiting } = await import("./sync.js");
    for (const end = Date.now() + 20_000; (await waiting()) && Date.now() < end; ) await new Promise((resolve) => setTimeout(resolve, 50));
    return waiting();
  });
  assert.equal(left, 0);
  await upToDate(page);
}

/** Sends what is in the line. */
async function send(page) {
  await look(page);
  await allSent(page);
}

/** The page comes to show these items and no others. */
const shows = (page, names) =>
  page.waitForFunction((names) => [...document.querySelectorAll("#list .name")].map((p) => p.textContent).sort().join() === names, names.sort().join());

async function offline(page) {
  await page.context().setOffline(true);
  await look(page);
  await unanswered(page);
}

/** Signs in on a device, to an empty list, and leaves an empty one. */
async function start(t, user, expected = []) {
  await erase(user);
  t.after(() => erase(user));
  const page = await visit(t, { expected: [...down, ...expected] });
  await signIn(page, user);
  await upToDate(page);
  return page;
}

// One route for the whole of a test: the browser loses sight of requests while routes
// come and go.
/** Has on(route, n) decide what becomes of the page's batches, n counted from 0. */
async function gate(page, on) {
  let n = 0;
  await page.route(batches, (route) => on(route, n++));
  return sentBy(page);
}

/** Holds a batch until release is called; arrived is when it is there. */
function holding() {
  const held = {};
  held.arrived = new Promise((resolve) => (held.arrive = resolve));
  held.released = new Promise((resolve) => (held.release = resolve));
  held.hold = async (route) => {
    held.arrive();
    await held.released;
    await route.continue();
  };
  return held;
}

const key = (request) => request.headers()["idempotency-key"];
const waits = (page) => page.getByText(/aits to be (sent|deleted)$/);
const problem = (status, more) => ({ status, headers: { "Access-Control-Allow-Origin": "*" }, contentType: "application/problem+json", body: JSON.stringify({ status, title: "Not now", code: "x", ...more }) });

test("a line of a hundred changes goes in three requests", async (t) => {
  const page = await start(t, "alice");
  const sent = sentBy(page);
  await line(page, each(60, (i) => ["create", `old ${i}`]));
  await send(page);
  assert.deepEqual(sent.map((r) => changesOf(r).length), [40, 20]);

  await page.evaluate(() => navigator.serviceWorker.ready);
  await offline(page);
  sent.length = 0;
  await line(page, [
    ...each(40, (i) => ["create", `new ${i}`]),
    ...each(20, (i) => ["replace", `old ${i}`, `replaced ${i}`]),
    ...each(20, (i) => ["patch", `old ${20 + i}`, `patched ${i}`]),
    ...each(20, (i) => ["remove", `old ${40 + i}`]),
  ]);
  await create(page, "made and gone");
  await page.getByRole("button", { name: "Delete made and gone" }).click();
  await item(page, "made and gone").waitFor({ state: "detached" });
  await edit(page, "new 39", "new, and changed");
  const id = await item(page, "new, and changed").getAttribute("data-id");
  await page.context().setOffline(false);
  await send(page);
  assert.deepEqual(sent.map((r) => [r.url(), changesOf(r).length]), [40, 40, 20].map((n) => [batches, n]));
  const kinds = sent.flatMap(changesOf).map((change) => Object.keys(change)[0]);
  assert.deepEqual(["create", "replace", "patch", "delete"].map((kind) => kinds.filter((k) => k === kind).length), [40, 20, 20, 20]);
  assert.equal(new Set(sent.map(key)).size, 3);
  const there = await listed("alice");
  assert.deepEqual(
    Object.keys(there).sort(),
    [...each(39, (i) => `new ${i}`), "new, and changed", ...each(20, (i) => `replaced ${i}`), ...each(20, (i) => `patched ${i}`)].sort(),
  );
  assert.equal(there["new, and changed"].id, id);
  assert.equal(await item(page, "new, and changed").getAttribute("data-id"), id);
});

test("a batch whose answer is lost is sent again as it was, and changes nothing twice", async (t) => {
  const page = await start(t, "bob");
  await line(page, ["to replace", "to patch", "to delete"].map((name) => ["create", name]));
  await send(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  let lost = 0;
  const sent = await gate(page, async (route) => {
    if (lost !== 0) return lost === 1 ? route.abort() : route.continue();
    lost = 1;
    await route.fetch(); // the API has it
    await route.abort(); // and nobody is told
  });
  await line(page, [["create", "made"], ["replace", "to replace", "replaced"], ["patch", "to patch", "patched"], ["remove", "to delete"]]);
  await look(page);
  await unanswered(page);
  await put("bob", "replaced", "replaced elsewhere");
  await page.reload();
  await unanswered(page);
  assert.equal(await waits(page).count(), 4);
  await edit(page, "made", "made, and changed"); // not in the batch, which is as it was
  lost = 2;
  await send(page);
  const again = sent.slice(0, -1);
  assert.ok(again.length > 1);
  assert.deepEqual(again.map((r) => [key(r), r.postData()]), again.map(() => [key(sent[0]), sent[0].postData()]));
  assert.deepEqual([sent[0], sent.at(-1)].map((r) => changesOf(r).length), [4, 1]);
  const names = ["made, and changed", "patched", "replaced elsewhere"];
  assert.deepEqual(Object.keys(await listed("bob")).sort(), names);
  await shows(page, names);
  assert.equal(await waits(page).count(), 0);
});

test("an item that is there already under its ID is the one that was sent", long, async (t) => {
  const page = await start(t, "alice", ["status of 412"]);
  await gate(page, async (route, n) => {
    if (n > 0) return route.continue();
    await route.fetch();
    await route.abort();
  });
  await create(page, "sent long ago");
  await unanswered(page);
  await put("alice", "sent long ago", "changed elsewhere");
  // The API remembers a key for a day.
  await page.evaluate(async () => {
    const { change } = await import("./store.js");
    await change(async ({ queue, done }) => {
      for (const entry of await done(queue.getAll())) queue.put({ ...entry, batch: "another" });
    });
  });
  await send(page);
  await shows(page, ["changed elsewhere"]);
  assert.deepEqual(Object.keys(await listed("alice")), ["changed elsewhere"]);
});

test("what is refused is taken out of its batch, and the others get through", async (t) => {
  const page = await start(t, "bob", ["status of 412", "status of 410"]);
  const names = ["a", "b", "c", "d", "e"];
  await line(page, names.map((name) => ["create", name]));
  await send(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await offline(page);
  await line(page, [["create", "before"], ...names.map((name) => [name === "e" ? "remove" : "replace", name, `${name}, mine`]), ["create", "after"]]);
  await look(page);
  await item(page, "c, mine").waitFor();
  await put("bob", "c", "c, theirs");
  const { id: gone, etag: last } = (await listed("bob")).e;
  await ask("bob", "DELETE", `/api/items/${gone}`, undefined, { "If-Match": last });
  const first = holding();
  const sent = await gate(page, (route, n) => (n === 0 ? first.hold(route) : route.continue()));
  await page.context().setOffline(false);
  await look(page);
  await first.arrived;
  await edit(page, "c, mine", "c, mine again"); // on what is under way
  first.release();
  const card = item(page, "c, mine again");
  await card.getByText("It was changed elsewhere meanwhile").waitFor();
  await card.getByText("Now it is “c, theirs”.").waitFor();
  await state(page, "conflict-in-a-batch");
  await shows(page, ["a, mine", "after", "b, mine", "before", "c, mine again", "d, mine"]); // and e is gone, as was wanted
  assert.deepEqual(sent.map((r) => changesOf(r).length), [7, 5]);
  assert.notEqual(key(sent[0]), key(sent[1]));
  assert.deepEqual(Object.keys(await listed("bob")).sort(), ["a, mine", "after", "b, mine", "before", "c, theirs", "d, mine"]);
  await card.getByRole("button", { name: "Keep mine" }).click();
  await card.getByText("changed elsewhere").waitFor({ state: "detached" });
  await send(page);
  assert.deepEqual(sent.slice(2).map((r) => changesOf(r)[0].replace[text]), ["c, mine", "c, mine again"]); // one after the other
  assert.ok((await listed("bob"))["c, mine again"]);

  // An ID that was used before, as of an item that was erased.
  const { id, etag } = (await listed("bob")).before;
  await ask("bob", "DELETE", `/api/items/${id}`, undefined, { "If-Match": etag });
  await send(page);
  await offline(page);
  await line(page, [["create", "used before"], ["create", "and another"]]);
  await page.evaluate(async (id) => {
    const { change } = await import("./store.js");
    await change(async ({ queue, done }) => {
      const [entry] = await done(queue.getAll());
      queue.put({ ...entry, id, item: { ...entry.item, id } });
    });
  }, id);
  await page.context().setOffline(false);
  await send(page);
  await item(page, "and another").waitFor();
  await item(page, "used before").getByRole("button", { name: "Create it again" }).waitFor();
  await state(page, "used-before");
  await item(page, "used before").getByRole("button", { name: "Create it again" }).click();
  await item(page, "used before").getByText("deleted elsewhere").waitFor({ state: "detached" });
  await send(page);
  const there = await listed("bob");
  assert.ok(there["used before"] && there["and another"]);
});

test("answers that name no change: the batch is sent again, or in parts", long, async (t) => {
  const page = await start(t, "alice", ["status of 503", "status of 429", "status of 413"]);
  const sent = await gate(page, (route, n) => {
    if (n < 2) return route.fulfill(problem([503, 429][n], { retryAfter: 1 }));
    return n > 2 && changesOf(route.request()).length > 3 ? route.fulfill(problem(413)) : route.continue();
  });
  await line(page, each(10, (i) => ["create", `thing ${i}`]));
  await look(page);
  await page.getByText("10 changes wait to be sent.").waitFor();
  await allSent(page); // by the timer
  assert.deepEqual(sent.map(key), each(3, () => key(sent[0])));
  assert.deepEqual(sent.map((r) => r.postData()), each(3, () => sent[0].postData()));

  sent.length = 0;
  await line(page, each(10, (i) => ["create", `large ${i}`]));
  await send(page);
  assert.deepEqual(sent.map((r) => changesOf(r).length), [10, 5, 3, 3, 3, 1]);
  assert.equal(new Set(sent.map(key)).size, sent.length);
  assert.equal(Object.keys(await listed("alice")).length, 20);
});

for (const [name, years] of [["ahead", 1], ["behind", -1]]) {
  test(`an item is made on a device whose clock is a year ${name}`, async (t) => {
    const page = await start(t, "bob", ["status of 422"]);
    await page.evaluate((off) => {
      const real = Date.now;
      Date.now = () => real() + off;
    }, years * 365 * 24 * 3600_000);
    const first = holding();
    const sent = await gate(page, (route, n) => (n === 0 ? first.hold(route) : route.continue()));
    await create(page, "made");
    await first.arrived;
    await page.getByRole("button", { name: "Edit made" }).click(); // under the ID that is refused
    first.release();
    await item(page, "made").getByText("Waits").waitFor({ state: "detached" });
    await textField(page).fill("made, and changed");
    await save(page);
    await item(page, "made, and changed").waitFor();
    await item(page, "made, and changed").getByText("waits").waitFor({ state: "detached" });
    assert.deepEqual(sent.map((r) => Object.keys(changesOf(r)[0])[0]), ["create", "create", "replace"]);
    await create(page, "the next");
    await item(page, "the next").getByText("Waits").waitFor({ state: "detached" });
    assert.equal(sent.length, 4); // the clock is known now
    const there = await listed("bob");
    assert.deepEqual(Object.keys(there).sort(), ["made, and changed", "the next"]);
    for (const { createdAt } of Object.values(there)) assert.ok(Math.abs(Date.parse(createdAt) - Date.now()) < 300_000, createdAt);
    await shows(page, Object.keys(there));
  });
}

test("what waited when everything was erased is dropped, and said", long, async (t) => {
  const page = await start(t, "alice", ["status of 410"]);
  await line(page, [["create", "old"], ["create", "other"]]);
  await send(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await offline(page);
  await edit(page, "old", "old, and changed");
  await page.getByRole("button", { name: "Delete other" }).click();
  await create(page, "made before");
  await erase("alice");
  await create(page, "made after");
  const sent = sentBy(page);
  await page.context().setOffline(false);
  await send(page);
  const alert = page.getByRole("alert");
  await alert.getByText("3 changes made here before then had not been sent, and were dropped.").waitFor();
  await state(page, "erased");
  assert.deepEqual(sent.map((r) => changesOf(r).length), [1]);
  assert.deepEqual(Object.keys(await listed("alice")), ["made after"]);
  await shows(page, ["made after"]);

  // Said until it is read, and not again.
  await page.reload();
  await alert.getByText("Your items were erased").waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  await alert.waitFor({ state: "hidden" });
  await page.reload();
  await upToDate(page);
  await shows(page, ["made after"]);
  assert.equal(await alert.count(), 0);

  // What was put in the line after an erasure is not dropped for it.
  await offline(page);
  await erase("alice");
  await create(page, "made later");
  await page.context().setOffline(false);
  await send(page);
  await shows(page, ["made later"]);
  assert.equal(await alert.count(), 0);
});
