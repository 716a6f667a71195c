// What the page says of its list while something is wrong, and that it comes back by
// itself.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { API_URL, browser, control, create, item, long, look, SIGN_IN_URL, signIn, state, tab, upToDate, visit } from "./world.mjs";

after(() => browser.close());

const api = (url) => url.href.startsWith(`${API_URL}/api/`);
const host = new URL(API_URL).host;
const stands = (page, kind) => page.locator(`#status[data-state=${kind}]`).waitFor();
const problem = (status, more) => ({
  status, headers: { "Access-Control-Allow-Origin": "*" }, contentType: "application/problem+json",
  body: JSON.stringify({ status, title: "Not now", code: "overloaded", ...more }),
});

/** A page that is up to date and opens without a network. */
async function start(t, user, expected = []) {
  const page = await visit(t, { expected });
  await signIn(page, user);
  await upToDate(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  return page;
}

test("a network that swallows packets: the app opens, says so, and goes on by itself", { skip: process.platform === "win32" }, async (t) => {
  const page = await start(t, "alice");
  await create(page, "kept here");
  await item(page, "kept here").getByText("Waits").waitFor({ state: "detached" });
  t.after(() => Promise.all([control("/app/answers"), control("/api/answers")]));
  await Promise.all([control("/app/silent"), control("/api/silent")]);
  await page.reload();
  await item(page, "kept here").waitFor();
  await stands(page, "slow");
  await page.locator("#status").getByText(`No answer from ${host} yet.`).waitFor();
  await state(page, "silence");
  await create(page, "made in the silence");
  await item(page, "made in the silence").getByText("Waits to be sent").waitFor();
  assert.equal(await page.getByText(/^Up to date/).count(), 0);
  await Promise.all([control("/app/answers"), control("/api/answers")]);
  await item(page, "made in the silence").getByText("Waits to be sent").waitFor({ state: "detached" });
  await upToDate(page);
});

test("no network, no answer, CORS, 502, 503 and 429 are told apart, and are over by themselves", long, async (t) => {
  const page = await start(t, "bob", ["net::ERR_", "CORS policy", "status of 5", "status of 429"]);
  const answered = { "Access-Control-Allow-Origin": "*" };
  const alert = page.getByRole("alert");
  for (const [kind, says, fault, alerts] of [
    ["unreachable", `${host} does not answer.`, (route) => route.abort("connectionrefused")],
    ["cors", `${host} answers, but not to this page.`, (route) => route.fulfill({ status: 200, headers: { "Access-Control-Allow-Origin": "https://another.example" }, body: "{}" }), "without the CORS headers"],
    ["broken", "Not up to date: The answer was 502, and not from the API.", (route) => route.fulfill({ status: 502, headers: answered, body: "<h1>Bad gateway</h1>" }), "Bad gateway"],
    ["busy", "The API is busy, and is asked again at", (route) => route.fulfill(problem(503, { retryAfter: 2 })), "Not now"],
    ["busy", "The API is busy, and is asked again at", (route) => route.fulfill(problem(429, { code: "rate.limited", retryAfter: 2 }))],
    ["offline", "Offline. What you change is kept here and sent later.", null],
  ]) {
    if (fault) await page.route(api, fault);
    else await page.context().setOffline(true);
    await look(page);
    await page.locator("#status").getByText(says).waitFor();
    await stands(page, kind);
    if (alerts) await alert.getByText(alerts).waitFor();
    else assert.equal(await alert.count(), 0);
    await state(page, alerts ? `${kind}-${alerts.split(" ")[0].toLowerCase()}` : kind);
    if (fault) await page.unroute(api, fault);
    else await page.context().setOffline(false);
    await upToDate(page);
    await alert.waitFor({ state: "hidden" });
  }
});

test("a slow API is waited for, and that is said", long, async (t) => {
  const page = await start(t, "alice");
  let answer;
  const wait = new Promise((resolve) => (answer = resolve));
  await page.route(api, async (route) => {
    await wait;
    await route.continue();
  });
  await look(page);
  await stands(page, "slow");
  answer();
  await upToDate(page);
});

test("a refusal of each group is shown in the API's words, once, and is over by itself", async (t) => {
  const page = await start(t, "bob", ["status of 40"]);
  const alert = page.getByRole("alert");
  let broken;
  const spoil = (route) => {
    const headers = { ...route.request().headers(), authorization: broken.token ? `Bearer ${broken.token}` : broken.scheme };
    return route.continue({ headers });
  };
  const refused = async (code) => {
    broken = code === "auth.scheme" ? { scheme: "Basic eDp5" } : await (await fetch(`${SIGN_IN_URL}/dev/broken?code=${code}`)).json();
    await look(page);
    await alert.getByText(code, { exact: false }).waitFor();
    await stands(page, "refused");
    assert.equal(await page.getByText(/^Up to date/).count(), 0);
  };
  // The page lets no other person's token out; these are spoilt on the way.
  await page.route(api, spoil);
  await refused("aud.is_client");
  await state(page, "refused-audience");
  await page.unroute(api, spoil);
  await upToDate(page);
  await alert.waitFor({ state: "hidden" });

  await page.route(api, spoil);
  for (const code of [
    "auth.scheme", "token.opaque", "token.graph", "token.algorithm", "policy.not_allowed", "iss.other_tenant", "sig.invalid",
    "aud.wrong", "time.expired", "subject.missing", "azp.not_allowed", "scope.missing",
  ]) await refused(code);
  // The last one is said again neither after it was closed, nor by itself.
  await alert.getByRole("button", { name: "Sign in again and ask for it" }).waitFor();
  await alert.getByRole("button", { name: "Close" }).click();
  await Promise.all([page.waitForResponse((r) => r.status() === 403), look(page)]);
  await page.locator("#status").getByText("Not up to date: The token lacks the scope").waitFor();
  assert.equal(await alert.count(), 0);
  await page.unroute(api, spoil);
  await look(page);
  await upToDate(page);
});

test("what the browser believes of the network decides nothing", async (t) => {
  const page = await start(t, "alice");
  await page.evaluate(() => Object.defineProperty(navigator, "onLine", { get: () => false }));
  await create(page, "on one machine alone");
  await item(page, "on one machine alone").getByText("Waits").waitFor({ state: "detached" });
  await upToDate(page);
});

test("two tabs of one person show the same at once, without asking the API", async (t) => {
  const page = await start(t, "bob", ["net::ERR_FAILED"]);
  const other = await tab(page);
  await upToDate(other);
  await other.route(api, (route) => route.abort());
  await page.bringToFront();
  const before = Date.now();
  await create(page, "seen in both");
  await item(other, "seen in both").waitFor();
  t.diagnostic(`seen after ${Date.now() - before} ms, with the typing`);
  await item(other, "seen in both").getByText("Waits").waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Delete seen in both" }).click();
  await item(other, "seen in both").waitFor({ state: "detached" });
});

test("a hidden page rests, and looks when it is seen again", async (t) => {
  const page = await visit(t);
  await page.clock.install();
  await page.reload();
  await signIn(page, "alice");
  await upToDate(page);
  const see = (visibility) =>
    page.evaluate((visibility) => {
      Object.defineProperty(document, "visibilityState", { configurable: true, get: () => visibility });
      document.dispatchEvent(new Event("visibilitychange"));
    }, visibility);
  const asked = [];
  page.on("request", (request) => request.url().includes("/api/items/delta") && asked.push(request.method()));
  await Promise.all([page.waitForResponse((r) => r.url().includes("/api/items/delta")), page.clock.fastForward(31_000)]);
  await see("hidden");
  const before = asked.length;
  await page.clock.fastForward("02:00:00");
  await page.evaluate(() => new Promise(requestAnimationFrame));
  assert.equal(asked.length, before);
  await Promise.all([page.waitForRequest((r) => r.url().includes("/api/items/delta")), see("visible")]);
  await upToDate(page);
});

test("an open page is told when the app's files are new", long, async (t) => {
  const page = await start(t, "alice");
  await page.reload(); // and the worker serves it
  await upToDate(page);
  await page.evaluate(async () => {
    await (await caches.open("app")).put("/style.css", new Response("an old version"));
    navigator.serviceWorker.controller.postMessage("look");
  });
  await page.getByText("A new version of this app is here.").waitFor();
  await state(page, "new-version");
  await page.getByRole("button", { name: "Reload" }).click();
  await upToDate(page);
  assert.equal(await page.getByText("A new version").count(), 0);
});
