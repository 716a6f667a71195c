// What the browser tests share: the browser, people who sign in, and a watch on the
// console. The world (sign-in, API, app) is started by spatest's Go test, which
// tells where it is.

import { readFile } from "node:fs/promises";
import axe from "axe-core";
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

const { SPA_URL, SPA_CROSS_URL, SPA_EXTERNAL_URL, SIGN_IN_URL, API_URL, CONTROL_URL, BROWSER, SCREENSHOTS } = process.env;
export { SPA_URL, SPA_CROSS_URL, SPA_EXTERNAL_URL, SIGN_IN_URL, API_URL, CONTROL_URL };

// The processes that a browser is made of take much of its work; fewer will do here.
const args = ["--in-process-gpu", "--renderer-process-limit=2"];
export const browser = await chromium.launch({ executablePath: BROWSER, args });

/** What a test is given that the check leaves to its long form. */
export const long = { skip: !process.env.CHECK_LONG && "scripts/check -long" };

/** Has the world do something: roll keys over, set the sign-in's clock. */
export const control = async (path) => {
  const answer = await fetch(CONTROL_URL + path, { method: "POST" });
  if (!answer.ok) throw new Error(await answer.text());
};

/** A browser of its own, with an empty storage, on the app's page. */
export async function visit(t, { url = SPA_URL, expected = [], ...options } = {}) {
  const context = await browser.newContext({ serviceWorkers: "allow", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !expected.some((e) => message.text().includes(e))) errors.push(`${message.text()} (${message.location().url})`);
  });
  t.after(async () => {
    await context.close();
    if (errors.length) throw new Error(`the console says: ${errors.join("\n")}`);
  });
  await page.goto(url);
  return page;
}

/** Chooses a user on the stand-in's page. */
export async function choose(page, user, { withhold } = {}) {
  await page.waitForURL((url) => url.origin === SIGN_IN_URL);
  if (withhold) await page.getByLabel(withhold).uncheck();
  await page.getByRole("button", { name: user, exact: true }).click();
}

/** A page's signed-out state, back from the sign-in, too: until then the button is disabled. */
export const signedOut = (page) => page.getByRole("button", { name: /^Sign in (or sign up|as somebody else)$/, disabled: false });

/** Signs in by redirect. */
export async function signIn(page, user, options) {
  const home = [SPA_CROSS_URL, SPA_EXTERNAL_URL].find((url) => page.url().startsWith(url));
  await signedOut(page).click();
  await choose(page, user, options);
  await page.waitForURL((url) => url.origin === (options?.home ?? home ?? SPA_URL) && url.pathname === "/");
  await page.getByRole("button", { name: "Sign out" }).waitFor();
}

/** An access token of the user, who need not be at a browser. */
export const token = async (user) => (await fetch(`${SIGN_IN_URL}/dev/token?user=${user}`)).text();

/** One more tab of the same browser. */
export async function tab(page) {
  const other = await page.context().newPage();
  other.setDefaultTimeout(20_000);
  await other.goto(SPA_URL);
  return other;
}

export async function upToDate(page) {
  try {
    await page.getByText(/^Up to date at/).waitFor();
  } catch (error) {
    throw new Error(`the page says: ${await page.locator("main").innerText()}`, { cause: error });
  }
}

const samples = JSON.parse(await readFile(new URL("../../../handler/items/content.samples.json", import.meta.url)));

/** The page says that nobody answers. */
export const unanswered = (page) => page.locator("#status:is([data-state=offline], [data-state=unreachable])").waitFor();

/** A text that the API refuses for its length. */
export const tooLong = (character) => character.repeat(samples.longest + 1);

export const textPointer = samples.text;

/** A valid content with this text. */
export const contentOf = (text) => ({ ...samples.good[0], [samples.text.slice(1)]: text });

/** The editor's field for the text by which the tests know an item. */
export const textField = (page) => page.locator(`#field-${samples.text.slice(1)}`);

/** Makes an item through the page; more has what to fill in besides, by member. */
export async function create(page, name, more = {}) {
  await page.getByRole("button", { name: "New item" }).click();
  await textField(page).fill(name);
  for (const [member, text] of Object.entries(more)) await page.locator(`#field-${member}`).fill(text);
  await save(page);
  await item(page, name).waitFor();
}

/** Saves what the editor shows; when it has closed, it is kept on the device. */
export async function save(page) {
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("dialog").waitFor({ state: "hidden" });
}

export const item = (page, name) => page.getByRole("listitem").filter({ has: page.getByText(name, { exact: true }) });

export async function edit(page, name, to) {
  await page.getByRole("button", { name: `Edit ${name}`, exact: true }).click();
  await textField(page).fill(to);
  await save(page);
  await item(page, to).first().waitFor(); // or a wait for what it says to go would be over before it is there
}

/** Looks for changes now, as a page does that is looked at again. */
export const look = async (page) => {
  await page.evaluate(() => dispatchEvent(new Event("online")));
};

/** Where the page sends changes to. */
export const batches = `${API_URL}/api/items/batch`;

/** Notes the requests with changes that the tabs of a browser send. */
export function sentBy(page) {
  const sent = [];
  page.context().on("request", (request) => {
    if (!["GET", "HEAD", "OPTIONS"].includes(request.method()) && request.url().startsWith(API_URL)) sent.push(request);
  });
  return sent;
}

/** The changes in a request's body. */
export const changesOf = (request) => request.postDataJSON().changes;

/** Finds nothing that keeps people out, in this state of the page. */
export async function accessible(page, state) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`), [], state);
}

/** Keeps a picture, where one was asked for. */
export async function picture(page, name) {
  if (!SCREENSHOTS) return;
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: `${SCREENSHOTS}/${name}.png`, fullPage: true });
}

/** Looks at a state of the page as it is, and on a phone in the dark. */
export async function state(page, name) {
  await accessible(page, name);
  await picture(page, name);
  const size = page.viewportSize();
  await page.setViewportSize({ width: 360, height: 700 });
  await page.emulateMedia({ colorScheme: "dark" });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${name} is ${wide} pixels too wide`);
  await accessible(page, `${name}, phone, dark`);
  await picture(page, `phone-dark-${name}`);
  await page.emulateMedia({ colorScheme: null });
  await page.setViewportSize(size);
}
