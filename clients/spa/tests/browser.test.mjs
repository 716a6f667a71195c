import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, API_URL, batches, browser, changesOf, choose, control, CONTROL_URL, create, edit, item, long, look, picture, save, sentBy, SIGN_IN_URL, signedOut, signIn, SPA_CROSS_URL, SPA_URL, textField, textPointer, tooLong, unanswered, upToDate, visit } from "./world.mjs";

after(() => browser.close());

const refusal = "Failed to load resource: the server responded with a status of 40";
const offline = "net::ERR_INTERNET_DISCONNECTED";

test("the first load is small, and asks nobody else", async (t) => {
  const context = await browser.newContext({ serviceWorkers: "block" });
  t.after(() => context.close());
  const page = await context.newPage();
  let bytes = 0;
  const asked = new Set();
  const sizes = [];
  page.on("requestfinished", (request) => {
    asked.add(new URL(request.url()).origin);
    sizes.push(request.sizes().then((s) => (bytes += s.responseBodySize + s.responseHeadersSize)));
  });
  await page.goto(SPA_URL);
  await page.getByRole("button", { name: "Sign in or sign up" }).waitFor();
  await Promise.all(sizes);
  assert.ok(bytes > 50_000 && bytes < 110_000, `${bytes} bytes`);
  t.diagnostic(`first load: ${bytes} bytes`);
  assert.deepEqual([...asked].filter((o) => ![SPA_URL, SIGN_IN_URL, API_URL].includes(o)), []);
});

test("sign in by redirect, work, sign out", async (t) => {
  const page = await visit(t);
  await page.getByRole("button", { name: "Sign in or sign up" }).waitFor();
  await accessible(page, "signed out");
  await picture(page, "signed-out");
  await signIn(page, "alice");
  await upToDate(page);
  await page.getByText("Nothing here yet").waitFor();
  await accessible(page, "empty");
  await picture(page, "empty");

  await create(page, "Milk");
  await create(page, "Bread");
  await upToDate(page);
  await edit(page, "Bread", "Rye bread");
  await item(page, "Rye bread").waitFor();
  await upToDate(page);
  await accessible(page, "list");
  await picture(page, "list");
  await page.getByRole("button", { name: "New item" }).click();
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator("#fields .error:visible").first().waitFor();
  await accessible(page, "editor");
  await picture(page, "editor");
  await page.keyboard.press("Escape");
  await page.reload();
  await item(page, "Milk").waitFor();
  await page.getByRole("button", { name: "Delete Rye bread" }).click();
  await item(page, "Rye bread").waitFor({ state: "detached" });
  await upToDate(page);

  for (let i = 0; i < 21; i++) await create(page, `thing ${i}`);
  await upToDate(page);
  await page.reload(); // and it begins with the newest again
  await item(page, "thing 20").waitFor();
  await page.getByRole("listitem").last().scrollIntoViewIfNeeded();
  await page.getByRole("listitem").nth(21).waitFor();

  await page.getByRole("button", { name: "Sign out" }).click();
  await signedOut(page).waitFor();
  await page.reload();
  await signedOut(page).waitFor();
});

test("sign in by popup; cancelling says so", async (t) => {
  const page = await visit(t);
  for (const press of ["Cancel", "bob"]) {
    const [popup] = await Promise.all([page.waitForEvent("popup"), page.getByRole("button", { name: "Sign in in a window" }).click()]);
    await popup.getByRole("button", { name: press, exact: true }).click();
    if (press === "Cancel") await page.getByText("The sign-in was cancelled").waitFor();
  }
  await page.getByRole("button", { name: "Sign out" }).waitFor();
  await page.getByText("Nothing here yet").waitFor();
  await upToDate(page);
});

test("the token view explains the token", async (t) => {
  const page = await visit(t);
  await signIn(page, "alice");
  await page.getByRole("link", { name: "Token" }).click();
  const claim = (name) => page.getByRole("row").filter({ has: page.getByRole("rowheader", { name, exact: true }) });
  await claim("scp").getByText("✓ read to list, write to change").waitFor();
  await claim("azp").getByText("✓ this app").waitFor();
  await claim("tfp").getByText("✓ one of B2C_1_signupsignin").waitFor();
  await claim("iss").getByText("✓").waitFor();
  await page.getByRole("button", { name: "Ask the API" }).click();
  await page.getByText("200: the API takes this token.").waitFor();
  await accessible(page, "token");
  await picture(page, "token");

  // Renewed silently, by the refresh token.
  const [request] = await Promise.all([page.waitForRequest((r) => r.url().includes("/oauth2/v2.0/token")), page.getByRole("button", { name: "Get a new token" }).click()]);
  assert.match(request.postData(), /grant_type=refresh_token/);
  await claim("exp").getByText("✓").waitFor();

  // The second policy: its token is taken, too, with its own keys.
  const [popup] = await Promise.all([page.waitForEvent("popup"), page.getByRole("button", { name: "Edit the profile" }).click()]);
  // Somebody who is signed in may be let through without a page.
  await popup.getByRole("button", { name: "alice", exact: true }).click({ timeout: 3000 }).catch(() => {});
  await claim("tfp").getByText("B2C_1_profileedit", { exact: true }).waitFor();
  await page.getByText("200: the API takes this token.").waitFor();
});

test("a scope that was not granted is shown with its cure", async (t) => {
  const page = await visit(t, { expected: [refusal] });
  await signIn(page, "bob", { withhold: /write$/ });
  await upToDate(page);
  await create(page, "Tea");
  await page.getByRole("alert").getByText("The token lacks the scope that this call needs").waitFor();
  await page.getByRole("alert").getByText(/^What to do: .*write/).waitFor();
  await item(page, "Tea").getByText("Waits to be sent").waitFor();
  await accessible(page, "refused");
  await picture(page, "refused");
  await edit(page, "Tea", "Green tea"); // the server has nothing of it
  await item(page, "Green tea").getByText("Waits to be sent", { exact: true }).waitFor();
  await page.getByRole("link", { name: "Token" }).click();
  await page.getByText("✗ read and write; write was not granted").waitFor();
});

test("an expired token is replaced without a word", async (t) => {
  const page = await visit(t, { expected: [refusal] });
  await control("/clock?offset=-3h");
  t.after(() => control("/clock?offset=0s"));
  await signIn(page, "alice");
  await page.getByRole("alert").waitFor(); // the first call is refused, as is the new token of that clock
  await control("/clock?offset=0s");
  await look(page);
  await upToDate(page);
  await page.getByRole("alert").waitFor({ state: "hidden" });
});

test("keys roll over while somebody is signed in", async (t) => {
  const page = await visit(t, { expected: [refusal] });
  await signIn(page, "alice");
  await upToDate(page);
  await control("/rollover");
  await create(page, "after the rollover");
  await item(page, "after the rollover").getByText("Waits to be sent").waitFor({ state: "detached" });
  await upToDate(page);
});

test("what is changed without a network is sent later, and seen elsewhere", async (t) => {
  const [train, desk] = [await visit(t, { expected: [offline, "ERR_FAILED", "status of 412"] }), await visit(t)];
  for (const page of [train, desk]) {
    await signIn(page, "alice");
    await upToDate(page);
  }
  for (const name of ["to edit", "to delete", "to fight over"]) await create(train, name);
  await upToDate(train);
  await train.evaluate(() => navigator.serviceWorker.ready);
  await look(desk);
  await item(desk, "to edit").waitFor();

  await train.context().setOffline(true);
  await create(train, "made in the train");
  await edit(train, "made in the train", "made and changed in the train");
  await edit(train, "to edit", "edited");
  await edit(train, "edited", "edited twice");
  await train.getByRole("button", { name: "Delete to delete" }).click();
  await edit(train, "to fight over", "mine");
  await unanswered(train);
  await picture(train, "offline");
  await train.reload(); // the laptop was closed, and opened still without a network
  for (const name of ["made and changed in the train", "edited twice", "mine"]) await item(train, name).getByText(/aits to be sent$/).waitFor();
  await item(train, "to delete").getByText("Waits to be deleted").waitFor();
  await edit(desk, "to fight over", "theirs");
  await item(desk, "theirs").waitFor();
  await upToDate(desk);

  await train.context().setOffline(false);
  await look(train);
  await item(train, "mine").getByText("It was changed elsewhere meanwhile").waitFor();
  await item(train, "mine").getByText("Now it is “theirs”").waitFor();
  await accessible(train, "conflict");
  await picture(train, "conflict");
  await item(train, "to delete").waitFor({ state: "detached" });
  await look(desk);
  await item(desk, "made and changed in the train").waitFor();
  await item(desk, "edited twice").waitFor();
  await item(desk, "to delete").waitFor({ state: "detached" });
  assert.equal(await item(desk, "made in the train").count(), 0);

  await train.getByRole("button", { name: "Keep mine" }).click();
  await item(train, "mine").getByText("changed elsewhere").waitFor({ state: "detached" });
  await upToDate(train);
  await look(desk);
  await item(desk, "mine").waitFor();
});

test("an answer that is lost on the way is asked for again, and there is one item", async (t) => {
  const page = await visit(t, { expected: ["ERR_FAILED"] });
  await signIn(page, "bob");
  await upToDate(page);
  let lost = 0;
  await page.route("**/api/items**", async (route) => {
    if (route.request().method() === "GET" || lost++ > 0) return route.continue();
    await route.fetch(); // the API has it
    await route.abort(); // and nobody is told
  });
  await create(page, "sent twice");
  await item(page, "sent twice").getByText("Waits to be sent").waitFor({ state: "detached" });
  await upToDate(page);
  assert.equal(lost, 2);
  await page.reload();
  await upToDate(page);
  assert.equal(await item(page, "sent twice").count(), 1);
  await page.getByRole("button", { name: "Delete sent twice" }).click();
  await item(page, "sent twice").waitFor({ state: "detached" });
});

test("what the API refuses is explained at the item, and can be corrected", async (t) => {
  const page = await visit(t, { expected: ["status of 422"] });
  await signIn(page, "alice");
  await upToDate(page);
  await create(page, tooLong("x"));
  const refused = item(page, tooLong("x"));
  await refused.getByText(`${textPointer}: has `).waitFor();
  await accessible(page, "refused item");
  await picture(page, "refused-item");
  await refused.getByRole("button", { name: "Edit" }).click();
  await textField(page).fill("short enough");
  await page.getByRole("button", { name: "Save" }).click();
  await item(page, "short enough").getByText("Waits to be sent").waitFor({ state: "detached" });
  await upToDate(page);

  // What is changed cannot be made wrong, either.
  await edit(page, "short enough", tooLong("y"));
  await item(page, tooLong("y")).getByText(`${textPointer}: has `).waitFor();
  await item(page, tooLong("y")).getByRole("button", { name: "Discard" }).click();
  await item(page, "short enough").waitFor();
});

test("changed here and deleted there, and the other way round", async (t) => {
  const [here, there] = [await visit(t, { expected: [offline, "ERR_FAILED", "status of 412", "status of 404"] }), await visit(t)];
  for (const page of [here, there]) {
    await signIn(page, "bob");
    await upToDate(page);
  }
  for (const name of ["one", "two", "three", "four"]) await create(here, name);
  await upToDate(here);
  await look(there);
  await item(there, "four").waitFor();
  await here.context().setOffline(true);
  await edit(here, "one", "one, changed here");
  await edit(here, "two", "two, changed here");
  await here.getByRole("button", { name: "Delete three" }).click();
  await here.getByRole("button", { name: "Delete four" }).click();
  for (const name of ["one", "two"]) {
    await there.getByRole("button", { name: `Delete ${name}`, exact: true }).click();
    await item(there, name).waitFor({ state: "detached" });
  }
  for (const name of ["three", "four"]) {
    await edit(there, name, `${name}, changed there`);
    await item(there, `${name}, changed there`).waitFor();
  }
  await upToDate(there);
  await here.context().setOffline(false);
  await look(here);

  const gone = (name) => item(here, name).filter({ hasText: "It was deleted elsewhere meanwhile" });
  await gone("one, changed here").getByRole("button", { name: "Create it again" }).click();
  await gone("two, changed here").getByRole("button", { name: "Discard my change" }).click();
  await item(here, "three").getByText("You deleted it.").waitFor();
  await item(here, "three").getByRole("button", { name: "Keep mine" }).click();
  await item(here, "four").getByText("Now it is “four, changed there”").waitFor();
  await item(here, "four").getByRole("button", { name: "Take theirs" }).click();
  await item(here, "four, changed there").waitFor();
  await item(here, "three").waitFor({ state: "detached" });
  await upToDate(here);
  await look(there);
  for (const page of [here, there]) {
    await item(page, "one, changed here").waitFor();
    await item(page, "four, changed there").waitFor();
    for (const name of ["two, changed here", "three, changed there"]) await item(page, name).waitFor({ state: "detached" });
  }
});

test("when the API has forgotten what changed, the list is read again from the start", async (t) => {
  const page = await visit(t, { expected: ["status of 410"] });
  await signIn(page, "alice");
  await create(page, "there all the time");
  await upToDate(page);
  // An item that the API does not have: deleted so long ago that no delta says so.
  await page.evaluate(async (text) => {
    const [{ name }] = await indexedDB.databases();
    const request = indexedDB.open(name);
    await new Promise((resolve) => (request.onsuccess = resolve));
    const put = request.result.transaction("items", "readwrite").objectStore("items").put({ id: "0", [text]: "long gone", createdAt: "2099-01-01T00:00:00Z", etag: '"x"' });
    await new Promise((resolve) => (put.onsuccess = resolve));
    request.result.close();
    new BroadcastChannel(name).postMessage({ ids: ["0"] }); // as another tab tells
  }, textPointer.slice(1));
  let forgotten = 0; // 1 from when the API is to say so, 2 when it has
  await page.route("**/api/items/delta?*token=*", (route) => {
    if (forgotten !== 1) return route.continue();
    forgotten = 2;
    return route.fulfill({ status: 410, headers: { "Access-Control-Allow-Origin": "*", "Content-Type": "application/problem+json" }, body: '{"code":"delta.resync","title":"The delta token is too old"}' });
  });
  await page.getByRole("link", { name: "Token" }).click();
  await page.getByRole("link", { name: "Items" }).click();
  await item(page, "long gone").waitFor();
  forgotten = 1;
  await look(page);
  await item(page, "long gone").waitFor({ state: "detached" });
  await item(page, "there all the time").first().waitFor();
  assert.equal(forgotten, 2);
});

test("two tabs send once, and show the same", async (t) => {
  const tab = await visit(t, { expected: [offline, "ERR_FAILED"] });
  await signIn(tab, "bob");
  await upToDate(tab);
  const other = await tab.context().newPage();
  await other.goto(SPA_URL);
  await upToDate(other);
  await tab.context().setOffline(true);
  await create(tab, "from one tab");
  await create(other, "from the other");
  const sent = sentBy(tab);
  await tab.context().setOffline(false);
  await Promise.all([look(tab), look(other)]);
  for (const page of [tab, other]) {
    await upToDate(page);
    for (const name of ["from one tab", "from the other"]) await item(page, name).getByText("Waits").waitFor({ state: "detached" });
  }
  assert.equal(sent.flatMap(changesOf).length, 2);

  // What one tab has sent, the other still shows as it was, and can change.
  let held, send;
  const asked = new Promise((resolve) => (held = resolve));
  const first = async (route) => {
    await new Promise((resolve) => held((send = resolve)));
    await route.continue();
  };
  await tab.route(batches, first, { times: 1 }); // either tab may send the change that follows
  await create(tab, "shown in both");
  await asked;
  await other.reload();
  await other.getByRole("button", { name: "Edit shown in both" }).click();
  send();
  await item(tab, "shown in both").getByText("Waits").waitFor({ state: "detached" });
  await textField(other).fill("changed in the other");
  await save(other);
  await look(tab);
  await item(tab, "changed in the other").waitFor();
  await item(other, "changed in the other").getByText("waits").waitFor({ state: "detached" });
  for (const page of [tab, other]) {
    await item(page, "shown in both").waitFor({ state: "detached" });
    assert.equal(await page.getByRole("button", { name: "Edit changed in the other" }).count(), 1); // and nothing was refused
  }
});

test("by keyboard alone", async (t) => {
  const page = await visit(t);
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  await page.getByRole("button", { name: "Sign in or sign up" }).waitFor();
  await press("Tab", "Enter");
  await page.waitForURL((url) => url.origin === SIGN_IN_URL);
  await page.getByRole("button", { name: "alice", exact: true }).focus();
  await press("Enter");
  await page.getByRole("button", { name: "Sign out" }).waitFor();
  await upToDate(page);
  const focusOn = (label) => page.waitForFunction((label) => document.activeElement.getAttribute("aria-label") === label, label);
  let send;
  const held = new Promise((resolve) => (send = resolve));
  await page.route(batches, async (route) => {
    await held;
    await route.continue();
  });
  await page.getByRole("button", { name: "New item" }).focus();
  await press("Enter");
  await page.keyboard.type("typed");
  await press("Enter");
  await item(page, "typed").getByText("Waits to be sent").waitFor();
  await page.getByRole("button", { name: "Edit typed" }).focus();
  send();
  await item(page, "typed").getByText("Waits to be sent").waitFor({ state: "detached" });
  await focusOn("Edit typed"); // in the redrawn row
  await press("Enter");
  await page.getByRole("dialog").waitFor();
  await press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await focusOn("Edit typed");
  await press("Tab");
  await focusOn("Delete typed");
  await press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "new");
  await item(page, "typed").waitFor({ state: "detached" });
  await press("Shift+Tab", "Shift+Tab", "Enter"); // over Dismiss, to Undo
  await item(page, "typed").waitFor();
  await page.getByRole("searchbox").focus();
  await page.keyboard.type("nothing like it");
  await item(page, "typed").waitFor({ state: "detached" });
  await press("Escape"); // empties the field
  await item(page, "typed").waitFor();
  for (const view of ["Token", "Account"]) {
    await page.getByRole("link", { name: view }).focus();
    await press("Enter");
    await page.waitForFunction((id) => document.activeElement.id === id, `${view.toLowerCase()}-heading`);
  }
});

test("what cannot be kept on the device stays in the editor", async (t) => {
  const page = await visit(t);
  await signIn(page, "alice");
  await upToDate(page);
  await page.evaluate(() => {
    const add = IDBObjectStore.prototype.add;
    IDBObjectStore.prototype.add = function () {
      IDBObjectStore.prototype.add = add;
      throw new DOMException("The disk is full.", "QuotaExceededError");
    };
  });
  await page.getByRole("button", { name: "New item" }).click();
  await textField(page).fill("for a full disk");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("This could not be kept on this device: The disk is full.").waitFor();
  await save(page);
  await item(page, "for a full disk").waitFor();
});

test("what waits is its maker's alone", async (t) => {
  const page = await visit(t, { expected: [offline, "ERR_FAILED"] });
  await signIn(page, "alice");
  await upToDate(page);
  await page.context().setOffline(true);
  await create(page, "alice's secret");
  await unanswered(page);
  // Her sign-in is forgotten, as by a sign-out, before there is a network again.
  await page.evaluate(() => localStorage.clear());
  await page.context().clearCookies();
  await page.context().setOffline(false);
  await page.reload();
  await signIn(page, "bob");
  await upToDate(page);
  assert.equal(await item(page, "alice's secret").count(), 0);
  await page.getByRole("button", { name: "Sign out" }).click();
  await signIn(page, "alice");
  await upToDate(page);
  await item(page, "alice's secret").waitFor();
  await item(page, "alice's secret").getByText("Waits to be sent").waitFor({ state: "detached" });
});

test("on another site than the sign-in's, a hidden frame has no cookies", long, async (t) => {
  // What a production app meets, whose sign-in is at b2clogin.com.
  for (const [url, outcome] of [[SPA_URL, /^Up to date at/], [SPA_CROSS_URL, "Please sign in again"]]) {
    const page = await visit(t, { url, expected: [refusal] });
    await signIn(page, "alice", { home: url });
    await upToDate(page);
    // The refresh token has ended, as after 24 hours, so that MSAL tries a frame.
    await page.route("**/oauth2/v2.0/token*", (route) =>
      route.request().postData()?.includes("grant_type=refresh_token")
        ? route.fulfill({ status: 400, headers: { "Access-Control-Allow-Origin": "*" }, json: { error: "invalid_grant", error_description: "AADB2C90080: The provided grant has expired." } })
        : route.continue(),
    );
    await page.getByRole("link", { name: "Token" }).click();
    await page.getByRole("button", { name: "Get a new token" }).click();
    if (url === SPA_URL) await page.getByText("✓ read to list, write to change").waitFor();
    else await page.getByText(outcome).waitFor();
  }
});

test("a foreign origin is refused by CORS", async (t) => {
  const page = await visit(t, { url: CONTROL_URL + "/blank", expected: ["CORS policy", "net::ERR_FAILED"] });
  const outcome = await page.evaluate((url) => fetch(url, { headers: { Authorization: "Bearer x" } }).then((r) => `answered ${r.status}`, (e) => e.name), `${API_URL}/api/items`);
  assert.equal(outcome, "TypeError");
  const known = await visit(t, { expected: [refusal] });
  assert.equal(await known.evaluate((url) => fetch(url, { headers: { Authorization: "Bearer x" } }).then((r) => `answered ${r.status}`, (e) => e.name), `${API_URL}/api/items`), "answered 401");
});

test("on a phone, and in the dark", async (t) => {
  const page = await visit(t, { viewport: { width: 360, height: 700 }, colorScheme: "dark" });
  await signedOut(page).waitFor();
  await picture(page, "phone-dark-signed-out");
  await signIn(page, "alice");
  await upToDate(page);
  await create(page, "A name that is longer than any telephone is wide, and goes on and on, withoutanyblanksinitwhichisworse".slice(0, 190));
  for (const view of ["Items", "Token"]) {
    await page.getByRole("link", { name: view }).click();
    if (view === "Token") await page.getByText("✓ this app").waitFor();
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${view} is ${wide} pixels too wide`);
    await accessible(page, `phone, dark, ${view}`);
    await picture(page, `phone-dark-${view}`);
  }
});
