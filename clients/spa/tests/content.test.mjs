// Tests of content.js, the domain's own: replaced with it.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { batches, browser, changesOf, create, edit, item, long, look, save, sentBy, signIn, textField, upToDate, visit } from "./world.mjs";

after(() => browser.close());

/** Does something, and returns the changes that are sent for it, without ID and ETag. */
async function sentFor(page, work) {
  const [request] = await Promise.all([page.waitForRequest(batches), work()]);
  return request.postData().replace(/"id":"[^"]+",/g, "").replace(/"etag":"\\"[^"]+\\"",/g, "");
}

test("properties are shown as they are, and kept as they were typed", async (t) => {
  const page = await visit(t, { expected: ["net::ERR_INTERNET_DISCONNECTED"] });
  await signIn(page, "alice");
  await upToDate(page);
  await create(page, "Milk in litres", { properties: '{"litres": 1.5}' });
  await upToDate(page);

  // A number that JavaScript would round is not touched by changing the name.
  await create(page, "long number", { properties: '{"n": 9007199254740993, "d": 1.0}' });
  await upToDate(page);
  const sent = await sentFor(page, () => edit(page, "long number", "a long number"));
  assert.equal(sent, '{"changes":[{"patch":{"merge":{"name":"a long number"}}}]}');
  await item(page, "a long number").waitFor();
  await upToDate(page);

  // Properties that are replaced are so as a whole, and those that are cleared are gone.
  await page.getByRole("button", { name: "Edit Milk in litres" }).click();
  await page.locator("#field-properties").fill('{"cups": 9007199254740993}');
  const put = await sentFor(page, () => save(page));
  assert.equal(put, '{"changes":[{"replace":{"name":"Milk in litres","properties":{"cups": 9007199254740993}}}]}');
  await upToDate(page);
  await page.getByRole("button", { name: "Edit a long number" }).click();
  await page.locator("#field-properties").fill("");
  const cleared = await sentFor(page, () => save(page));
  assert.equal(cleared, '{"changes":[{"replace":{"name":"a long number"}}]}');
  await upToDate(page);

  await page.context().setOffline(true);
  await create(page, "made in the train", { properties: '{"seat": 61}' });
  await edit(page, "made in the train", "made and changed in the train");
  await page.context().setOffline(false);
  await look(page);
  await upToDate(page);
  await page.reload();
  await item(page, "made and changed in the train").getByText("seat: 61").waitFor();
  await item(page, "Milk in litres").getByText("cups: 9007199254740993").waitFor();
  assert.equal(await item(page, "a long number").locator(".details").count(), 0);
});

test("large changes go in several batches", long, async (t) => {
  const page = await visit(t);
  await signIn(page, "bob");
  await upToDate(page);
  const sent = sentBy(page);
  await page.evaluate(async () => {
    const sync = await import("./sync.js");
    for (let i = 0; i < 30; i++) await sync.create(sync.draftOf({ name: `large ${i}`, properties: { text: "€".repeat(30_000) } }));
  });
  await look(page);
  for (const name of ["large 29", "large 15"]) {
    await item(page, name).waitFor();
    await item(page, name).getByText("Waits").waitFor({ state: "detached" });
  }
  await page.getByText(/^Up to date at/).waitFor();
  const sizes = sent.map((request) => request.postDataBuffer().length);
  assert.equal(sizes.length, 2);
  for (const size of sizes) assert.ok(size < 2 << 20, String(size));
  assert.deepEqual(sent.map((r) => changesOf(r).length), [22, 8]);
});

test("a change that cannot be read does not keep the others back", long, async (t) => {
  const page = await visit(t, { expected: ["net::ERR_INTERNET_DISCONNECTED", "status of 400"] });
  await signIn(page, "bob");
  await upToDate(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.context().setOffline(true);
  const names = [1, 2, 3, 4, 5].map((n) => `number ${n}`);
  for (const name of names) await create(page, name, { properties: name === "number 3" ? '{"twice": 1, "twice": 2}' : "{}" });
  await page.context().setOffline(false);
  await look(page);
  await item(page, "number 3").getByText("The body cannot be read").waitFor();
  for (const name of names) await item(page, name).getByText("Waits").waitFor({ state: "detached" });
  assert.equal(await page.getByText("The body cannot be read").count(), 1);
  await item(page, "number 3").getByRole("button", { name: "Discard" }).click();
  await item(page, "number 3").waitFor({ state: "detached" });
  await upToDate(page);
});

test("what cannot be an item is said in the editor", async (t) => {
  const page = await visit(t);
  await signIn(page, "alice");
  await upToDate(page);
  await page.getByRole("button", { name: "New item" }).click();
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("A name is required.").waitFor();
  await textField(page).fill("x");
  for (const [typed, said] of [
    ["{", "This is not valid JSON"],
    ["[1]", "It must be a JSON object"],
    ["null", "It must be a JSON object"],
  ]) {
    await page.locator("#field-properties").fill(typed);
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText(said).waitFor();
  }
});

test("numbers are offered for editing with all their digits", async (t) => {
  const page = await visit(t);
  await signIn(page, "alice");
  await upToDate(page);
  await create(page, "exact", { properties: '{"n": 12345678901234567890, "d": 0.12345678901234567890123}' });
  await item(page, "exact").getByText("n: 12345678901234567890, d: 0.12345678901234567890123").waitFor();
  await item(page, "exact").getByText("Waits").waitFor({ state: "detached" });
  await page.reload();
  await item(page, "exact").getByText("n: 12345678901234567890").waitFor();
  await page.getByRole("button", { name: "Edit exact" }).click();
  const field = page.locator("#field-properties");
  assert.match(await field.inputValue(), /"n": 12345678901234567890,\s+"d": 0\.12345678901234567890123\s/);
  await field.fill((await field.inputValue()).replace('"d"', '"e"'));
  const put = await sentFor(page, () => save(page));
  assert.match(put, /"n": 12345678901234567890,\\n {2}"e": 0\.12345678901234567890123|"n": 12345678901234567890,\s+"e": 0\.12345678901234567890123/);
  // Created again after a deletion, they are the same.
  await item(page, "exact").getByText("waits").waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Delete exact" }).click();
  await item(page, "exact").waitFor({ state: "detached" });
  const again = await sentFor(page, () => page.getByRole("button", { name: "Undo" }).click());
  assert.match(again, /"n":12345678901234567890,"e":0\.12345678901234567890123/);
});
