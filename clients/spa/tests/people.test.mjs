// Several people and several tabs in one browser: each tab acts for its own person,
// and signing out leaves nothing behind.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { API_URL, batches, browser, choose, item, long, look, SIGN_IN_URL, signedOut, SPA_URL, state, tab, textField, token, unanswered, upToDate, visit } from "./world.mjs";
import * as world from "./world.mjs";

after(() => browser.close());

const names = { alice: "Alice Adams", bob: "Bob Brown" };
const aliceID = "a11ce000-5b7d-4c1e-8f3a-2d9e6c40b715";
const elsewhere = "You were signed out in another tab";
const down = "net::ERR_FAILED";

/** Notes whose token each of a browser's tabs sends to the API: [page, name, method]. */
function watch(page) {
  const sent = [];
  page.context().on("request", (request) => {
    const token = request.url().startsWith(API_URL) && request.headers().authorization?.split(".")[1];
    if (token) sent.push([request.frame().page(), JSON.parse(Buffer.from(token, "base64url")).name, request.method()]);
  });
  sent.by = (page) => [...new Set(sent.filter(([from]) => from === page).map(([, name]) => name))];
  return sent;
}

/** The names of a user's items, as the API has them. */
async function listed(user) {
  const answer = await fetch(`${API_URL}/api/items?limit=100&select=name`, { headers: { Authorization: `Bearer ${await token(user)}` } });
  return (await answer.json()).value.map((item) => item.name);
}

/** Takes the API away from all tabs, and returns what brings it back. */
async function takeDown(page) {
  const api = (url) => url.href.startsWith(API_URL);
  await page.context().route(api, (route) => route.abort());
  return () => page.context().unroute(api);
}

const whose = (page, user) => page.locator("#who").getByText(names[user], { exact: true }).waitFor();
const sent = (page, name) => item(page, name).getByText("Waits to be sent").waitFor({ state: "detached", timeout: 45_000 });
const dialog = (page) => page.getByRole("dialog", { name: "Sign out now?" });

// In a tab that is not in front each click takes a second.
const press = (page, name) => page.bringToFront().then(() => page.getByRole("button", { name }).click());
const create = (page, name) => page.bringToFront().then(() => world.create(page, name));
const signIn = (page, user) => page.bringToFront().then(() => world.signIn(page, user));

/** Two tabs of one browser: alice's and bob's. */
async function sideBySide(t, options) {
  const alice = await visit(t, options);
  const bob = await tab(alice);
  await signIn(alice, "alice");
  await bob.getByRole("button", { name: "Continue as Alice Adams" }).waitFor();
  await signIn(bob, "bob");
  await Promise.all([upToDate(alice), upToDate(bob)]);
  return [alice, bob];
}

/** Does what has the page leave for the sign-in, and waits until it has come back. */
async function leaves(page, work) {
  await page.evaluate(() => (globalThis.here = true));
  await work();
  await page.waitForFunction(() => !globalThis.here && document.querySelector("#signed-out:not([hidden])"));
}

/** All that the browser keeps for the app, as text. */
const kept = (page) =>
  page.evaluate(async () => {
    const databases = (await indexedDB.databases()).map(({ name }) => name);
    const files = await (await caches.open("app")).keys();
    return JSON.stringify([{ ...localStorage }, { ...sessionStorage }, databases, files.map(({ url }) => url)]);
  });

/** Nothing of alice is left, nor anybody's token. */
async function assertForgotten(page) {
  const text = (await kept(page)).toLowerCase();
  for (const trace of [aliceID, "alice", "accesstoken", "refreshtoken", "idtoken", "state="]) {
    const at = text.indexOf(trace);
    assert.equal(at, -1, `${trace} in …${text.slice(Math.max(at - 100, 0), at + 100)}…`);
  }
}

test("two people side by side, each as themselves, after reloads too", async (t) => {
  const [alice, bob] = await sideBySide(t);
  const seen = watch(alice);
  for (const round of ["first", "second"]) {
    for (const [page, user] of [[alice, "alice"], [bob, "bob"]]) {
      await whose(page, user);
      await create(page, `${user}'s ${round}`);
      await sent(page, `${user}'s ${round}`);
      await page.reload();
    }
  }
  await Promise.all([upToDate(alice), upToDate(bob)]);
  assert.deepEqual([seen.by(alice), seen.by(bob)], [["Alice Adams"], ["Bob Brown"]]);
  assert.equal(await bob.getByText("alice's").count() + await alice.getByText("bob's").count(), 0);
  const [hers, his] = [await listed("alice"), await listed("bob")];
  for (const round of ["first", "second"]) {
    assert.ok(hers.includes(`alice's ${round}`) && !hers.includes(`bob's ${round}`), String(hers));
    assert.ok(his.includes(`bob's ${round}`) && !his.includes(`alice's ${round}`), String(his));
  }

  // A tab that is opened now does not guess whose it is.
  const third = await tab(alice);
  await third.getByRole("button", { name: "Continue as Alice Adams" }).waitFor();
  assert.equal(await third.getByRole("button", { name: "Sign out" }).count() + await third.getByRole("listitem").count(), 0);
  await state(third, "whose-page");
  await press(third, "Continue as Bob Brown");
  for (const again of [false, true]) {
    if (again) await third.reload();
    await whose(third, "bob");
    await item(third, "bob's second").waitFor();
    await upToDate(third);
  }
  assert.deepEqual(seen.by(third), ["Bob Brown"]);

  // Her sign-out is hers alone.
  await press(alice, "Sign out");
  await alice.waitForURL(`${SPA_URL}/`);
  await signedOut(alice).waitFor();
  await alice.getByRole("button", { name: "Continue as Bob Brown" }).waitFor();
  await bob.reload();
  for (const page of [bob, third]) {
    const name = page === bob ? "bob goes on" : "and on";
    await create(page, name);
    await sent(page, name);
  }
});

test("a tab whose person signs out in another tab never acts for the next one", async (t) => {
  const here = await visit(t);
  await signIn(here, "alice");
  await upToDate(here);
  const there = await tab(here);
  await upToDate(there);
  const seen = watch(here);
  await press(there, "Sign out");
  await here.getByText(elsewhere).waitFor();
  await signedOut(there).waitFor();
  await signIn(there, "bob");
  await create(there, "bob's own");
  await sent(there, "bob's own");
  for (const again of [false, true]) {
    if (again) await here.reload();
    await look(here);
    await here.getByRole("button", { name: "Continue as Bob Brown" }).waitFor();
    assert.equal(await here.getByText("bob's own").count() + await here.getByText("Alice").count() + await here.getByRole("button", { name: "New item" }).count(), 0);
  }
  assert.deepEqual(seen.by(here), []);
});

test("what is under way for one person does not go on for the next", async (t) => {
  const here = await visit(t, { expected: [down] });
  await signIn(here, "alice");
  await upToDate(here);
  const there = await tab(here);
  await upToDate(there);
  const seen = watch(here);
  let held, answer;
  const asked = new Promise((resolve) => (held = resolve));
  await here.route(batches, async (route) => {
    if (answer) return route.continue();
    const made = await route.fetch();
    await new Promise((resolve) => held((answer = resolve)));
    await route.fulfill({ response: made }).catch(() => {}); // nobody waits for it any more
  });
  await create(here, "half sent");
  await create(here, "not sent");
  await asked;
  await press(there, "Sign out");
  await press(there, "Sign out and lose them");
  await here.getByText(elsewhere).waitFor();
  await signedOut(there).waitFor();
  const [popup] = await Promise.all([here.waitForEvent("popup"), press(here, "Sign in in a window")]);
  await popup.getByRole("button", { name: "bob", exact: true }).click();
  await whose(here, "bob");
  await upToDate(here);
  answer();
  await create(here, "bob's first here");
  await sent(here, "bob's first here");
  assert.equal(await here.getByText("half sent").count() + await here.getByText("not sent").count(), 0);
  assert.deepEqual(seen.filter(([page, name, method]) => page === here && method === "POST").map(([, name]) => name), ["Alice Adams", "Bob Brown"]);
  assert.ok(!(await listed("bob")).some((name) => name.endsWith(" sent")));
});

test("what waits while another person signs in is sent as its maker's, or not at all", async (t) => {
  const alice = await visit(t, { expected: [down] });
  const bob = await tab(alice);
  await signIn(alice, "alice");
  await upToDate(alice);
  let up = await takeDown(alice);
  await create(alice, "alice's note");
  await unanswered(alice);
  await signIn(bob, "bob");
  await unanswered(bob);
  const seen = watch(alice);
  await up();
  await sent(alice, "alice's note"); // by the timer
  up = await takeDown(alice);
  await create(alice, "alice's other note");
  await up();
  await look(alice);
  await sent(alice, "alice's other note");
  await look(bob);
  await upToDate(bob);
  assert.deepEqual([seen.by(alice), seen.by(bob)], [["Alice Adams"], ["Bob Brown"]]);
  assert.equal(await bob.getByText("alice's").count(), 0);

  // The same, and she is signed out before.
  const last = await tab(bob);
  await press(last, "Continue as Alice Adams");
  await upToDate(last);
  up = await takeDown(alice);
  await create(alice, "alice's last note");
  await unanswered(alice);
  await press(last, "Sign out");
  await press(last, "Sign out and lose it");
  await alice.getByText(elsewhere).waitFor();
  await signedOut(last).waitFor();
  seen.length = 0;
  await up();
  for (const page of [alice, last]) await look(page);
  await Promise.all([bob.waitForResponse((r) => r.url().includes("/api/items/delta")), look(bob)]);
  assert.deepEqual([seen.by(alice), seen.by(bob), seen.by(last)], [[], ["Bob Brown"], []]);
  const his = await listed("bob");
  assert.ok(!his.some((name) => name.startsWith("alice's")), String(his));
  assert.ok(!(await listed("alice")).includes("alice's last note"));
});

test("signing out forgets the person, whichever policy they were at", async (t) => {
  const page = await visit(t);
  await signIn(page, "alice");
  await upToDate(page);
  await create(page, "to forget");
  await sent(page, "to forget");
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.getByRole("link", { name: "Token" }).click();
  const [popup] = await Promise.all([page.waitForEvent("popup"), press(page, "Edit the profile")]);
  await popup.getByRole("button", { name: "alice", exact: true }).click({ timeout: 3000 }).catch(() => {}); // or it is passed over
  await page.getByText("200: the API takes this token.").waitFor();

  assert.ok(!(await kept(page)).includes(`${aliceID}-b2c_1_profileedit`));

  // An account of the profile's policy in MSAL's cache, however it came there.
  const left = await page.evaluate(async () => {
    const config = await (await fetch("config.json")).json();
    const swap = (url) => url.replace(config.policies.signUpSignIn, config.policies.editProfile);
    const auth = { clientId: config.clientId, authority: swap(config.authority), knownAuthorities: [new URL(config.authority).host], redirectUri: `${location.origin}/redirect.html`, authorityMetadata: await (await fetch(swap(config.localMetadata))).text() };
    const app = new globalThis.msal.PublicClientApplication({ auth, cache: { cacheLocation: "localStorage" } });
    await app.initialize();
    await app.ssoSilent({ scopes: [config.scopes.read] });
    return app.getAllAccounts().map((account) => account.homeAccountId);
  });
  assert.equal(left.length, 2, String(left));
  await page.reload();
  await page.getByText("✓ one of B2C_1_signupsignin").waitFor();
  await page.getByRole("cell", { name: "B2C_1_signupsignin", exact: true }).waitFor();

  const logout = page.waitForRequest((r) => r.url().includes("/logout"));
  await leaves(page, () => press(page, "Sign out"));
  assert.match((await logout).url(), /\/b2c_1_signupsignin\/oauth2\/v2\.0\/logout\?/i);
  for (const again of [false, true]) {
    if (again) await page.reload();
    await page.getByRole("button", { name: "Sign in or sign up" }).waitFor();
    assert.equal(page.url(), `${SPA_URL}/`);
    await assertForgotten(page);
  }
  const other = await tab(page);
  await other.getByRole("button", { name: "Sign in or sign up" }).waitFor();
  await signIn(other, "bob"); // the session at the sign-in has ended: it asks
  await whose(other, "bob");
});

test("signing out asks before a change is lost", async (t) => {
  const page = await visit(t, { expected: [down] });
  await signIn(page, "alice");
  await upToDate(page);
  let up = await takeDown(page);
  await create(page, "kept or lost");
  await unanswered(page);
  for (const stay of [() => press(page, "Stay signed in"), () => page.keyboard.press("Escape")]) {
    await press(page, "Sign out");
    await dialog(page).getByText("1 change has not been sent").waitFor();
    await stay();
    await dialog(page).waitFor({ state: "hidden" });
    await page.reload();
    await item(page, "kept or lost").getByText("Waits to be sent").waitFor();
  }
  await press(page, "Sign out");
  await state(page, "unsent");
  await press(page, "Send first");
  await dialog(page).getByText("1 change could not be sent").waitFor();

  // What another tab adds meanwhile is not lost with it.
  const other = await tab(page);
  await create(other, "of another tab");
  await press(page, "Sign out and lose it");
  await dialog(page).getByText("2 changes could not be sent").waitFor();
  await up();
  await press(page, "Send first");
  await other.getByText(elsewhere).waitFor();
  await signedOut(page).waitFor();
  const hers = await listed("alice");
  for (const name of ["kept or lost", "of another tab"]) assert.ok(hers.includes(name), String(hers));

  await signIn(page, "alice");
  await upToDate(page);
  up = await takeDown(page);
  await create(page, "lost");
  await unanswered(page);
  await press(page, "Sign out");
  await leaves(page, () => press(page, "Sign out and lose it"));
  await assertForgotten(page);
  await up();
  await signIn(page, "alice");
  await upToDate(page);
  await item(page, "kept or lost").waitFor();
  assert.equal(await item(page, "lost").count(), 0);
});

test("a sign-out is followed by the person's other tabs", async (t) => {
  const [page, bob] = await sideBySide(t);
  const other = await tab(page);
  await press(other, "Continue as Alice Adams");
  await create(other, "on the list");
  await sent(other, "on the list");
  await press(other, "New item");
  await textField(other).fill("half typed");
  const before = Date.now();
  await press(page, "Sign out");
  await other.getByText(elsewhere).waitFor({ timeout: 10_000 });
  t.diagnostic(`followed after ${Date.now() - before} ms`);
  await state(other, "signed-out-elsewhere");
  assert.equal(await other.getByRole("dialog").count(), 0);
  assert.equal(await textField(other).inputValue(), "");
  assert.equal(await other.locator("#list > *").count(), 0);
  await signedOut(page).waitFor();
  const databases = await other.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name));
  assert.equal(databases.length, 1, String(databases)); // bob's
  await create(bob, "not disturbed");
  await sent(bob, "not disturbed");

  // Where one tab does not close the database, nothing is in it and nobody waits.
  await signIn(page, "alice");
  await item(page, "on the list").waitFor();
  const held = await tab(page);
  await held.evaluate(async (id) => {
    const { name } = (await indexedDB.databases()).find(({ name }) => name.includes(id));
    const request = indexedDB.open(name);
    await new Promise((resolve) => (request.onsuccess = resolve));
    globalThis.held = request.result;
  }, aliceID);
  await Promise.all([page.waitForRequest((r) => r.url().includes("/logout?")), press(page, "Sign out")]);
  await signedOut(page).waitFor();
  const left = await held.evaluate(async () => {
    const stores = ["items", "queue"].map((name) => globalThis.held.transaction(name).objectStore(name).count());
    await new Promise((resolve) => (stores[1].onsuccess = resolve));
    return stores.map((request) => request.result);
  });
  assert.deepEqual(left, [0, 0]);
  await signedOut(page).click();
  await choose(page, "alice");
  await page.getByText("Another tab or window holds on to what was kept for you here").waitFor();
  await held.close();
  await page.reload();
  await upToDate(page);
});

test("nothing is kept any more in a database that a sign-out has emptied", async (t) => {
  const page = await visit(t);
  await signIn(page, "alice");
  await upToDate(page);
  const other = await tab(page);
  await upToDate(other);
  await other.evaluate(async () => (await import("./store.js")).empty(0));
  await press(page, "New item");
  await textField(page).fill("too late");
  await press(page, "Save");
  await page.getByText("This could not be kept on this device: you have signed out").waitFor();
  await page.reload(); // she is signed in still
  await upToDate(page);
  await create(page, "in time");
  await sent(page, "in time");
});

test("when what is kept is gone, the page is signed out, without an error", long, async (t) => {
  const page = await visit(t);
  for (const tabs of [1, 2]) {
    await signIn(page, "alice");
    await upToDate(page);
    const all = tabs === 1 ? [page] : [page, await tab(page)];
    await Promise.all(all.map(upToDate));
    await page.evaluate(() => localStorage.clear());
    if (tabs === 1) await page.getByRole("link", { name: "Token" }).click(); // no tab is told of its own
    for (const tab of all) {
      await tab.getByText(elsewhere).waitFor();
      assert.equal(await tab.getByRole("alert").count() + await tab.getByRole("listitem").count(), 0);
      await signedOut(tab).waitFor();
    }
    await page.evaluate(() => (location.hash = ""));
    await page.context().clearCookies(); // of the sign-in, which would let her in by itself
  }
  await signIn(page, "alice");
  await upToDate(page);
  const other = await tab(page);
  await upToDate(other);
  const deleted = await page.evaluate(async () => {
    const [{ name }] = await indexedDB.databases();
    const request = indexedDB.deleteDatabase(name);
    return new Promise((resolve) => {
      request.onsuccess = () => resolve("deleted");
      setTimeout(() => resolve("blocked"), 10_000);
    });
  });
  assert.equal(deleted, "deleted");
  for (const tab of [page, other]) await tab.getByRole("button", { name: "Continue as Alice Adams" }).waitFor();
  await press(other, "Continue as Alice Adams");
  await upToDate(other);
});

test("signing out without a network, and the sign-in asks who comes next", async (t) => {
  const page = await visit(t, { expected: ["net::ERR_INTERNET_DISCONNECTED", down] });
  await signIn(page, "alice");
  await upToDate(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.context().setOffline(true);
  await press(page, "Sign out");
  await page.getByText("your list is no longer on this device").waitFor();
  await assertForgotten(page);
  await page.context().setOffline(false);
  await page.reload();
  await signedOut(page).click();
  await choose(page, "bob"); // her session there goes on, and does not let him in as her
  await whose(page, "bob");
});

test("another person's token is not sent, whatever brought it", async (t) => {
  const page = await visit(t);
  await signIn(page, "alice");
  await upToDate(page);
  const seen = watch(page);
  const his = await token("bob");
  // A sign-in, or a cache, that has his access token in the place of hers.
  await page.route("**/oauth2/v2.0/token*", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), access_token: his } });
  });
  await page.getByRole("link", { name: "Token" }).click();
  await press(page, "Get a new token");
  const alert = page.getByRole("alert");
  await alert.getByText("Alice Adams is signed in here, and the sign-in answered for Bob Brown. Nothing was sent").waitFor();
  assert.equal(await page.getByRole("cell", { name: "b0b00000" }).count(), 0);
  await press(page, "Ask the API");
  await press(page, "Close");
  await page.getByRole("link", { name: "Items" }).click();
  await create(page, "for alice alone");
  await alert.getByText("Somebody else is signed in").waitFor();
  await state(page, "somebody-else");
  await look(page);
  await item(page, "for alice alone").getByText("Waits to be sent").waitFor();
  assert.deepEqual(seen.by(page).filter((name) => name !== "Alice Adams"), []);
  await page.unroute("**/oauth2/v2.0/token*");

  // Signing in again: as somebody else, which is not taken, and as herself.
  for (const user of ["bob", "alice"]) {
    await press(page, "Sign in again as Alice Adams");
    await choose(page, user);
    await page.waitForURL((url) => url.origin === SPA_URL && url.pathname === "/");
    await whose(page, "alice");
    if (user === "bob") await alert.getByText("Somebody else is signed in").waitFor();
  }
  await sent(page, "for alice alone");
  assert.deepEqual(seen.by(page), ["Alice Adams"]);
  assert.ok((await listed("alice")).includes("for alice alone") && !(await listed("bob")).includes("for alice alone"));
  await whose(await tab(page), "alice"); // bob's sign-in was not kept
});

test("another person's session at the sign-in is not taken for the page's person", async (t) => {
  const page = await visit(t, { expected: ["status of 400"] });
  await signIn(page, "alice");
  await upToDate(page);
  const seen = watch(page);
  // Bob signs in to another app, in the same browser.
  await page.context().route("https://jwt.ms/**", (route) => route.fulfill({ body: "another app" }));
  const another = await page.context().newPage();
  await another.goto(SIGN_IN_URL);
  await another.getByRole("link", { name: "Run now" }).first().click();
  await Promise.all([another.waitForRequest(/^https:\/\/jwt\.ms\//), another.getByRole("button", { name: "bob", exact: true }).click()]);

  const alert = page.getByRole("alert");
  const refused = async () => {
    await alert.getByText("the sign-in answered for Bob Brown").waitFor();
    assert.equal(await page.getByRole("cell", { name: "b0b00000" }).count(), 0);
    await press(page, "Close");
  };
  await page.getByRole("link", { name: "Token" }).click();
  await page.getByText("✓ read to list, write to change").waitFor();
  await press(page, "Edit the profile"); // its popup comes back by itself
  await refused();
  // Her refresh token has ended, so that MSAL asks in a hidden frame.
  await page.route("**/oauth2/v2.0/token*", (route) =>
    route.request().postData()?.includes("grant_type=refresh_token")
      ? route.fulfill({ status: 400, headers: { "Access-Control-Allow-Origin": "*" }, json: { error: "invalid_grant", error_description: "AADB2C90080: The provided grant has expired." } })
      : route.continue(),
  );
  await press(page, "Get a new token");
  await refused();
  await whose(page, "alice");
  assert.deepEqual(seen.by(page), []);
  await whose(await tab(page), "alice"); // nobody else is signed in to this app
});

test("a renewal that is under way when its person signs out does not sign in again", async (t) => {
  const page = await visit(t, { expected: ["status of 400"] });
  await signIn(page, "alice");
  await upToDate(page);
  const other = await tab(page);
  await upToDate(other);
  let redeemed, redeem;
  const asked = new Promise((resolve) => (redeemed = resolve));
  await other.route("**/oauth2/v2.0/token*", async (route) => {
    if (route.request().postData()?.includes("grant_type=refresh_token")) {
      return route.fulfill({ status: 400, headers: { "Access-Control-Allow-Origin": "*" }, json: { error: "invalid_grant", error_description: "AADB2C90080: The provided grant has expired." } });
    }
    await new Promise((resolve) => redeemed((redeem = resolve)));
    await route.continue();
  });
  await other.evaluate(async () => {
    const [auth, { person }] = [await import("./auth.js"), await import("./store.js")];
    globalThis.renewal = auth.token(person, { fresh: true }).then(() => "renewed", (error) => error.constructor.name);
  });
  await asked; // the hidden frame has brought a code
  await press(page, "Sign out");
  await other.getByText(elsewhere).waitFor();
  await signedOut(page).waitFor();
  redeem();
  assert.equal(await other.evaluate(() => globalThis.renewal), "SignedOut");
  await assertForgotten(other);
  await other.reload();
  await other.getByRole("button", { name: "Sign in or sign up" }).waitFor();
});
