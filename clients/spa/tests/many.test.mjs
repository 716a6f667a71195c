// Many items in a list (1,000, and 10,000 where the check takes its time): what a person
// does with it, and the tasks over 50 ms, in which the page answers to nobody. They are
// counted and reported; nothing here depends on how fast a machine is.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { API_URL, browser, contentOf, edit, item, look, signIn, token, upToDate, visit } from "./world.mjs";

after(() => browser.close());

const many = process.env.CHECK_LONG ? 10_000 : 1000;
const needle = `thing ${many / 2 - 9}`;

async function post(path, body) {
  const answer = await fetch(`${API_URL}/api/items/${path}`, {
    method: "POST", headers: { Authorization: `Bearer ${await token("bob")}`, "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
}

async function erase() {
  while ((await post("erase", { confirm: "erase everything" })).more);
}

/** Reports how long something took, and the long tasks in it. */
async function measured(t, page, what, work) {
  await page.evaluate(() => (globalThis.longTasks.length = 0));
  const before = Date.now();
  await work();
  const took = Date.now() - before;
  const long = await page.evaluate(() => globalThis.longTasks);
  t.diagnostic(`${what}: ${took} ms; ${long.length} long tasks${long.length ? `, the longest ${Math.max(...long)} ms, all together ${long.reduce((a, b) => a + b)} ms` : ""}`);
}

test(`${many} items: first sync, search, scroll and edit`, async (t) => {
  await erase();
  t.after(erase);
  const batches = Array.from({ length: many / 50 }, (_, b) => ({ items: Array.from({ length: 50 }, (_, i) => contentOf(`thing ${b * 50 + i}`)) }));
  for (const batch of batches) await post("batch", batch);

  const page = await visit(t, { expected: ["status of 410"] });
  await page.context().addInitScript(() => {
    globalThis.longTasks = [];
    new PerformanceObserver((list) => globalThis.longTasks.push(...list.getEntries().map((task) => Math.round(task.duration)))).observe({ type: "longtask" });
  });
  await page.reload();
  const search = page.getByRole("searchbox", { name: "Search" });
  await measured(t, page, "sign-in and first sync", async () => {
    await signIn(page, "bob");
    await page.locator("#status[data-state=current]").waitFor({ timeout: 120_000 });
  });
  await item(page, `thing ${many - 1}`).waitFor();
  await measured(t, page, "opened again", async () => {
    await page.reload();
    await item(page, `thing ${many - 1}`).waitFor();
    await upToDate(page);
  });
  await measured(t, page, "search, ten keys", async () => {
    await search.pressSequentially(needle);
    await page.locator("#found").getByText(`1 of ${many}`).waitFor();
    await item(page, needle).waitFor();
  });
  await measured(t, page, "edit", async () => {
    await edit(page, needle, `${needle}, and changed`);
    await item(page, `${needle}, and changed`).getByText("waits").waitFor({ state: "detached" });
  });
  await search.fill("");
  await item(page, `thing ${many - 1}`).waitFor();
  await measured(t, page, "scroll to the 300th", async () => {
    const rows = page.getByRole("listitem");
    for (let n = 20; n <= 300; n += 20) {
      await rows.last().scrollIntoViewIfNeeded();
      await rows.nth(n).waitFor();
    }
  });
  await measured(t, page, "a delta", async () => {
    await post("batch", { items: [contentOf("from elsewhere")] });
    await look(page);
    await page.evaluate(() => scrollTo(0, 0));
    await item(page, "from elsewhere").waitFor();
  });
});
