// What people expect of any list: search, undo, nothing typed is lost, titles and focus.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { API_URL, browser, choose, contentOf, create, edit, item, long, look, save, SIGN_IN_URL, signedOut, signIn, SPA_URL, state, textField, textPointer, token, upToDate, visit } from "./world.mjs";

after(() => browser.close());

/** Calls the API as the user, from another device. */
const ask = async (user, method, path, body, headers) => {
  const answer = await fetch(`${API_URL}/api/items${path}`, {
    method, headers: { Authorization: `Bearer ${await token(user)}`, "Content-Type": "application/json", ...headers }, body: JSON.stringify(body),
  });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
};

const erase = (user) => ask(user, "POST", "/erase", { confirm: "erase everything" });

/** A page of the user's, with nothing in it. */
async function start(t, user, options) {
  await erase(user);
  const page = await visit(t, { expected: ["ERR_INTERNET_DISCONNECTED", "status of 410"], ...options });
  await signIn(page, user);
  await upToDate(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  return page;
}

const sent = (page, name) => item(page, name).getByText("aits to be").waitFor({ state: "detached" });

test("search looks at all items, while one types", async (t) => {
  const page = await start(t, "alice");
  const contents = Array.from({ length: 60 }, (_, i) => contentOf(i === 7 ? "Crème brûlée" : `thing ${i}`));
  await page.evaluate(async (contents) => {
    const sync = await import("./sync.js");
    for (const content of contents) await sync.create(sync.draftOf(content));
  }, contents);
  await item(page, "thing 59").waitFor();
  assert.equal(await item(page, "Crème brûlée").count(), 0); // far down
  const search = page.getByRole("searchbox", { name: "Search" });
  await search.fill("BRÛLÉE crème");
  await item(page, "Crème brûlée").waitFor();
  assert.equal(await page.getByRole("listitem").count(), 1);
  await page.locator("#found").getByText("1 of 60").waitFor();
  await state(page, "search");
  await search.fill("nowhere");
  await page.locator("#found").getByText("0 of 60").waitFor();
  await search.fill("");
  await item(page, "thing 59").waitFor();
  await look(page);
  await upToDate(page);
});

test("a deletion can be undone, before it is sent and after", async (t) => {
  const page = await start(t, "bob");
  for (const name of ["oldest", "precious", "newest"]) await create(page, name);
  await upToDate(page);
  const names = () => page.locator("#list .name").allTextContents();
  const remove = (name) => page.getByRole("button", { name: `Delete ${name}` }).click();
  const undo = () => page.getByRole("button", { name: "Undo" }).click();

  await remove("precious");
  await item(page, "precious").waitFor({ state: "detached" }); // it was sent
  await state(page, "deleted");
  await undo();
  await item(page, "precious").waitFor();
  await sent(page, "precious");
  assert.deepEqual(await names(), ["newest", "precious", "oldest"]);

  await page.context().setOffline(true);
  await edit(page, "precious", "precious, and changed");
  await remove("precious, and changed");
  await item(page, "precious, and changed").getByText("Waits to be deleted").waitFor();
  await undo();
  await item(page, "precious, and changed").getByText("Your change waits to be sent").waitFor();
  await create(page, "made here");
  await remove("made here");
  await item(page, "made here").waitFor({ state: "detached" });
  await undo();
  await item(page, "made here").getByText("Waits to be sent").waitFor();
  await page.context().setOffline(false);
  await look(page);
  await sent(page, "made here");
  await sent(page, "precious, and changed");
  assert.deepEqual((await names()).toSorted(), ["made here", "newest", "oldest", "precious, and changed"]);
});

test("what was typed is not lost by Escape, by Back or by a reload", async (t) => {
  const page = await start(t, "alice");
  await create(page, "there before");
  await sent(page, "there before");
  const go = page.getByRole("button", { name: "Go on editing" });

  await page.getByRole("button", { name: "New item" }).click();
  await textField(page).fill("half typed");
  await page.keyboard.press("Escape");
  await page.getByText("What you typed for a new item is kept").waitFor();
  await state(page, "typed-text-kept");
  await go.click();
  assert.equal(await textField(page).inputValue(), "half typed");
  await page.keyboard.press("Escape");
  await page.reload();
  await go.click();
  await save(page);
  await item(page, "half typed").waitFor();

  await page.getByRole("link", { name: "Token" }).click();
  await page.getByRole("link", { name: "Items" }).click();
  await page.getByRole("button", { name: "Edit there before" }).click();
  await textField(page).fill("changed, and Back");
  await page.goBack();
  await page.getByRole("heading", { name: "Your access token" }).waitFor();
  assert.equal(await page.getByRole("dialog").count(), 0);
  assert.match(await page.title(), /^Your access token/);
  await page.getByText("What you typed for “there before” is kept").waitFor();
  await page.goForward();
  await page.getByRole("button", { name: "Edit there before" }).click(); // which goes on, too
  assert.equal(await textField(page).inputValue(), "changed, and Back");
  await save(page);
  await sent(page, "changed, and Back");
  assert.equal(await go.count(), 0);

  // Cancel and Discard are what they say.
  await page.getByRole("button", { name: "New item" }).click();
  await textField(page).fill("not wanted");
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "New item" }).click();
  assert.equal(await textField(page).inputValue(), "");
  await textField(page).fill("nor this");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Discard it" }).click();
  await page.getByRole("button", { name: "New item" }).click();
  assert.equal(await textField(page).inputValue(), "");
  await page.keyboard.press("Escape");
  assert.equal(await go.count(), 0);
});

test("title and focus follow the view", async (t) => {
  const page = await visit(t);
  await signedOut(page).waitFor();
  const base = (await page.title()).replace("Sign in – ", "");
  assert.equal(await page.title(), `Sign in – ${base}`);
  await signIn(page, "bob");
  await upToDate(page);
  assert.equal(await page.title(), base);
  for (const [link, heading] of [["Token", "Your access token"], ["Account", "Your account"]]) {
    await page.getByRole("link", { name: link }).click();
    await page.waitForFunction((heading) => document.activeElement.textContent === heading, heading);
    assert.equal(await page.title(), `${heading} – ${base}`);
  }
  await page.goBack();
  await page.waitForFunction(() => document.activeElement.id === "token-heading");
  await page.getByRole("link", { name: "Items" }).click();
  await page.getByRole("button", { name: "New item" }).click();
  assert.equal(await page.title(), `New item – ${base}`);
  await page.keyboard.press("Escape");
  await page.waitForFunction((base) => document.title === base, base);
});

test("names read from their own side", long, async (t) => {
  const page = await start(t, "bob");
  await create(page, "حليب");
  await item(page, "حليب").waitFor();
  await sent(page, "حليب");
  const fromTheRight = (selector) => page.waitForFunction((selector) => getComputedStyle(document.querySelector(selector)).direction === "rtl", selector);
  await fromTheRight("#list .name");
  await page.getByRole("button", { name: "Edit حليب" }).click();
  await fromTheRight(`#field-${textPointer.slice(1)}`);
});

test("the app can be installed, and asks to keep what it has", async (t) => {
  const page = await start(t, "alice");
  const manifest = await page.evaluate(async () => (await fetch(document.querySelector("link[rel=manifest]").href)).json());
  assert.ok(manifest.name && manifest.start_url && manifest.display === "standalone");
  for (const { src } of manifest.icons) assert.equal(await page.evaluate(async (src) => (await fetch(src)).headers.get("Content-Type"), src), "image/svg+xml");
  const client = await page.context().newCDPSession(page);
  const { errors } = await client.send("Page.getAppManifest");
  assert.deepEqual(errors, []);
  await page.evaluate(() => (navigator.storage.persist = async () => (globalThis.asked = true)));
  await create(page, "worth keeping");
  await page.waitForFunction(() => globalThis.asked);
});

test("everything is erased after a fresh sign-in, on all devices", async (t) => {
  const page = await start(t, "bob");
  const other = await visit(t, { expected: ["status of 410"] });
  await signIn(other, "bob");
  for (const name of ["one", "two"]) await create(page, name);
  await sent(page, "two");
  await look(other);
  await item(other, "two").waitFor();
  const begin = async (as) => {
    await page.getByRole("link", { name: "Account" }).click();
    await page.getByRole("button", { name: "Erase everything" }).click();
    await page.getByRole("button", { name: "Sign in to erase" }).click();
    await choose(page, as);
    await page.waitForURL((url) => url.origin === SPA_URL && url.pathname === "/");
  };
  await page.getByRole("link", { name: "Account" }).click();
  await state(page, "account");
  await begin("alice"); // somebody else cannot
  await page.getByRole("alert").getByText("Somebody else is signed in").waitFor();
  assert.equal(await page.getByRole("dialog").count(), 0);
  await page.getByRole("button", { name: "Close" }).click();
  await begin("Cancel");
  await page.getByText("Cancelled. Nothing has changed.").waitFor();
  assert.equal(await page.getByRole("dialog").count(), 0);
  await begin("bob");
  await page.getByRole("dialog", { name: "Erase everything?" }).waitFor();
  await state(page, "erase");
  await page.getByRole("button", { name: "Erase everything now" }).click();
  await page.getByText("Everything is erased: 2 on the server").waitFor();
  await page.getByRole("link", { name: "Items" }).click();
  await page.getByText("Nothing here yet").waitFor();
  await look(other);
  await other.getByText("Nothing here yet").waitFor();
});

test("a conflict is solved, and everything erased, by keyboard alone", async (t) => {
  const page = await start(t, "alice", { expected: ["ERR_INTERNET_DISCONNECTED", "net::ERR_FAILED", "status of 410", "status of 412"] });
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  const focusOn = (name) => page.waitForFunction((name) => (document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent) === name, name);
  /** Goes on with Tab, or back, until this has the focus: as far as it takes, and no farther than around the page. */
  const to = async (name, key = "Tab") => {
    for (let i = 0; i < 40; i++) {
      if ((await page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent)) === name) return;
      await press(key);
    }
    assert.fail(`${key} does not come to ${name}`);
  };
  const { id, etag } = await ask("alice", "POST", "", contentOf("to fight over"));
  await look(page);
  await item(page, "to fight over").waitFor();
  await page.context().setOffline(true);
  await to("Edit to fight over");
  await press("Enter");
  await page.getByRole("dialog").waitFor();
  await press("Control+a");
  await page.keyboard.type("mine");
  await press("Enter");
  await item(page, "mine").waitFor();
  await focusOn("Edit mine");
  await ask("alice", "PUT", `/${id}`, contentOf("theirs"), { "If-Match": etag });
  await page.context().setOffline(false);
  await look(page);
  await item(page, "mine").getByText("It was changed elsewhere meanwhile").waitFor();
  await focusOn("Keep mine"); // the row was redrawn, and its buttons are others
  await press("Tab");
  await focusOn("Take theirs");
  await press("Shift+Tab", "Enter");
  await item(page, "mine").getByText("changed elsewhere").waitFor({ state: "detached" });
  await focusOn("Edit mine");
  await sent(page, "mine");

  await to("Account", "Shift+Tab");
  await press("Enter");
  await focusOn("Your account");
  await press("Tab");
  await focusOn("Erase everything …");
  await press("Enter");
  await focusOn("Keep everything"); // what does no harm comes first
  await press("Enter");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await focusOn("Erase everything …");
  await press("Enter");
  await focusOn("Keep everything");
  await press("Tab", "Enter");
  await page.waitForURL((url) => url.origin === SIGN_IN_URL);
  await page.getByRole("button", { name: "alice", exact: true }).focus();
  await press("Enter");
  await page.getByRole("dialog", { name: "Erase everything?" }).waitFor();
  await focusOn("Keep everything");
  await press("Tab");
  await focusOn("Erase everything now");
  await press("Enter");
  await page.getByText("Everything is erased: 1 on the server").waitFor();
  await page.waitForFunction(() => document.activeElement.matches("h2")); // and not nowhere
  await to("Dismiss", "Shift+Tab");
  await press("Enter");
  await page.getByText("Everything is erased").waitFor({ state: "detached" });
});
