// What goes wrong at the sign-in: each ends with what leads on.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { browser, choose, create, item, long, look, SIGN_IN_URL, signedOut, signIn, SPA_EXTERNAL_URL, SPA_URL, state, upToDate, visit } from "./world.mjs";

after(() => browser.close());

const home = (page) => page.waitForURL((url) => url.origin === SPA_URL && url.pathname === "/");

/** Goes to the sign-in, and presses something there. */
async function answer(page, what) {
  await signedOut(page).click();
  await choose(page, what);
}

test("cancelling is not an error, and the way in stays open", async (t) => {
  const page = await visit(t);
  await answer(page, "Cancel");
  await home(page);
  await page.getByText("The sign-in was cancelled. Nothing has changed.").waitFor();
  assert.equal(await page.getByRole("alert").count(), 0);
  await state(page, "cancelled");
  await signIn(page, "alice");
  await upToDate(page);
  assert.equal(await page.getByText("cancelled").count(), 0);
});

test("an error of the sign-in is explained, and leads on", async (t) => {
  const page = await visit(t);
  await answer(page, "Nobody we know");
  await home(page);
  const alert = page.getByRole("alert");
  await alert.getByText("AADB2C99002").waitFor();
  await alert.getByText(/^What to do: /).waitFor();
  await state(page, "sign-in-refused");
  await alert.getByRole("button", { name: "Sign in on this page" }).click();
  await choose(page, "bob");
  await home(page);
  await upToDate(page);
  assert.equal(await alert.count(), 0);
});

test("without the catalogue the sign-in's own words are shown", async (t) => {
  const page = await visit(t, { serviceWorkers: "block", expected: ["ERR_FAILED"] });
  await page.route("**/signin-errors.json", (route) => route.abort());
  await answer(page, "Nobody we know");
  await home(page);
  await page.getByRole("alert").getByText("AADB2C99002: ").waitFor();
  await page.getByRole("alert").getByRole("button", { name: "Sign in on this page" }).waitFor();
});

for (const by of ["redirect", "popup"]) {
  test(`who forgot the password goes to its policy, and is signed in afterwards, by ${by}`, async (t) => {
    const page = await visit(t);
    if (by === "redirect") {
      await answer(page, "Forgot password");
    } else {
      const [popup] = await Promise.all([page.waitForEvent("popup"), page.getByRole("button", { name: "Sign in in a window" }).click()]);
      await popup.getByRole("button", { name: "Forgot password", exact: true }).click();
    }
    await page.getByRole("heading", { name: "Reset a password" }).waitFor();
    assert.match(page.url(), /b2c_1_passwordreset/i);
    await page.getByRole("button", { name: "alice", exact: true }).click();
    // The session of the reset may let her pass, or she chooses once more.
    const [there, here] = [page.getByRole("button", { name: "alice", exact: true }), page.getByRole("button", { name: "Sign out" })];
    await there.or(here).waitFor();
    if (await there.isVisible()) await there.click();
    await here.waitFor();
    await upToDate(page);
    await page.reload();
    await upToDate(page);
    const left = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
    assert.ok(!/b2c_1_passwordreset[^"]*(idtoken|accesstoken|refreshtoken)/i.test(left), left);
  });
}

test("who does not reset the password after all can sign in", long, async (t) => {
  const page = await visit(t);
  await answer(page, "Forgot password");
  await page.getByRole("heading", { name: "Reset a password" }).waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  await home(page);
  await page.getByText("The sign-in was cancelled. Nothing has changed.").waitFor();
  await signIn(page, "bob");
  await upToDate(page);
});

test("a scope that was not granted can be asked for again", long, async (t) => {
  const page = await visit(t, { expected: ["status of 40"] });
  await signIn(page, "bob", { withhold: /write$/ });
  await upToDate(page);
  await create(page, "needs the scope");
  await page.getByRole("alert").getByRole("button", { name: "Sign in again and ask for it" }).click();
  await choose(page, "bob");
  await home(page);
  await item(page, "needs the scope").getByText("Waits to be sent").waitFor({ state: "detached" });
  await upToDate(page);
});

test("a sign-in that does not answer is said, and can be tried again", long, async (t) => {
  const page = await visit(t, { serviceWorkers: "block", expected: ["ERR_FAILED"] });
  await signedOut(page).waitFor();
  await page.evaluate(() => localStorage.clear());
  const away = (url) => url.href.startsWith(SIGN_IN_URL);
  await page.route(away, (route) => route.abort());
  await page.reload();
  const alert = page.getByRole("alert");
  await alert.getByText("does not answer").waitFor();
  await state(page, "sign-in-away");
  await page.unroute(away);
  await alert.getByRole("button", { name: "Try again" }).click();
  await signIn(page, "alice");
  await upToDate(page);
});

test("a blocked window leads to a sign-in on the page", async (t) => {
  const page = await visit(t);
  await page.evaluate(() => (globalThis.open = () => null));
  await page.getByRole("button", { name: "Sign in in a window" }).click();
  await page.getByRole("alert").getByRole("button", { name: "Sign in on this page" }).click();
  await choose(page, "alice");
  await home(page);
  await upToDate(page);
});

test("a sign-in that was left and never ended can be started over", long, async (t) => {
  const page = await visit(t);
  const away = (url) => url.href.startsWith(SIGN_IN_URL) && url.pathname.endsWith("/authorize");
  await page.route(away, (route) => route.fulfill({ status: 204 })); // the page stays where it is
  await Promise.all([page.waitForRequest((r) => away(new URL(r.url()))), signedOut(page).click()]);
  await signedOut(page).click();
  const alert = page.getByRole("alert");
  await alert.getByText("interaction_in_progress").waitFor();
  await state(page, "start-over");
  await page.unroute(away);
  await alert.getByRole("button", { name: "Start over" }).click();
  await signIn(page, "bob");
  await upToDate(page);
});

test("on the token view, too, it is said that nobody answers", long, async (t) => {
  const page = await visit(t, { expected: ["ERR_INTERNET_DISCONNECTED"] });
  await signIn(page, "alice");
  await upToDate(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.getByRole("link", { name: "Token" }).click();
  await page.getByText("✓ this app").waitFor();
  await page.context().setOffline(true);
  for (const name of ["Ask the API", "Get a new token"]) {
    await page.getByRole("button", { name }).click();
    await page.locator("#verdict").getByText("There is no network. Try again later.").waitFor();
  }
  await page.context().setOffline(false);
  await page.getByRole("button", { name: "Ask the API" }).click();
  await page.getByText("200: the API takes this token.").waitFor();
  await look(page);
});

test("an external tenant takes another config.json, and nothing else", async (t) => {
  const page = await visit(t, { url: SPA_EXTERNAL_URL });
  await answer(page, "Cancel");
  await page.getByText("The sign-in was cancelled. Nothing has changed.").waitFor();
  await answer(page, "Nobody we know");
  await page.getByRole("alert").getByText("AADSTS50034").waitFor();
  await signIn(page, "alice");
  await upToDate(page);
  await create(page, "of a customer");
  await item(page, "of a customer").getByText("Waits to be sent").waitFor({ state: "detached" });
  await page.reload();
  await item(page, "of a customer").waitFor();
  await page.getByRole("link", { name: "Token" }).click();
  const claim = (name) => page.getByRole("row").filter({ has: page.getByRole("rowheader", { name, exact: true }) });
  await claim("scp").getByText("✓ read to list, write to change").waitFor();
  await claim("iss").getByText("the issuer of the tenant").waitFor();
  await page.getByRole("button", { name: "Ask the API" }).click();
  await page.getByText("200: the API takes this token.").waitFor();
  assert.equal(await page.getByRole("button", { name: "Edit the profile" }).count(), 0);
  await state(page, "token-external");
  await Promise.all([page.waitForRequest((r) => r.url().includes("/logout")), page.getByRole("button", { name: "Sign out" }).click()]);
  await signedOut(page).waitFor();
});
