// Drives the app's web export at a phone's size. The world is started by mobile_test.go.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { accessible, API_URL, browser, choose, picture, SPA_EXTERNAL_URL, SPA_URL, textPointer, token, tooLong, visit } from "../../spa/tests/world.mjs";

after(() => browser.close());

const viewport = { width: 390, height: 844 };
async function open(t, url = SPA_URL, expected = []) {
  const deviceScaleFactor = process.env.SCREENSHOTS ? 2 : 1; // pictures are to be sharp
  const page = await visit(t, { url, viewport, deviceScaleFactor, isMobile: true, hasTouch: true, expected });
  page.context().setDefaultTimeout(60_000); // a busy machine is not a fault
  page.setDefaultTimeout(60_000);
  return page;
}
const press = (page, name) => page.getByRole("button", { name, exact: true }).click();
const heading = (page, name) => page.getByRole("heading", { name, exact: true });
const row = (page, name) => page.getByRole("button", { name: new RegExp(`^${name}( |$)`) });
const upToDate = (page) => page.getByText(/^Up to date at/);
const text = (page) => page.getByTestId(`field-${textPointer.slice(1)}`);

/** Waits for something, and tells what there is in its place. */
async function says(page, what) {
  try {
    await what.waitFor();
  } catch (error) {
    throw new Error(`the app says: ${await page.locator("#root").innerText()}`, { cause: error });
  }
}

/** Opens the sign-in by a button, and does something there. */
async function signInBy(page, button, there) {
  const [popup] = await Promise.all([page.waitForEvent("popup"), press(page, button)]);
  const closed = popup.waitForEvent("close");
  await there(popup);
  await closed;
}

async function signIn(page, user) {
  await signInBy(page, "Sign in or sign up", (popup) => choose(popup, user));
  await says(page, upToDate(page));
}

async function signOut(page) {
  const [popup] = await Promise.all([page.waitForEvent("popup"), press(page, "Sign out")]);
  if (!popup.isClosed()) await popup.waitForEvent("close");
  await says(page, heading(page, "You are signed out"));
}

/** Looks at a screen, light and dark. */
async function screen(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await accessible(page, `${name}, ${colorScheme}`);
    await picture(page, `${name}-${colorScheme}`);
  }
  for (const width of [320, viewport.width]) { // the first as with the largest text
    await page.setViewportSize({ ...viewport, width });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${name} is ${wide} pixels too wide at ${width}`);
  }
  await page.emulateMedia({ colorScheme: "light" });
}

async function create(page, name) {
  await press(page, "New item");
  await text(page).fill(name);
  await press(page, "Save");
  await row(page, name).waitFor();
}

test("sign in, list, create, edit, delete, a refusal, sign out, somebody else", async (t) => {
  const page = await open(t, SPA_URL, ["401"]);
  await page.getByRole("button", { name: "Sign in or sign up" }).waitFor();
  await screen(page, "welcome");
  await signIn(page, "alice");
  await page.getByText("Signed in as Alice Adams").waitFor();
  await screen(page, "empty");

  await press(page, "New item");
  await press(page, "Save"); // nothing was typed
  await page.getByRole("alert").waitFor();
  await screen(page, "editor");
  await text(page).fill("Milk");
  await press(page, "Save");
  await row(page, "Milk").waitFor();
  await create(page, "Bread");
  await upToDate(page).waitFor();
  await row(page, "Milk").click();
  await text(page).fill("Oat milk");
  await press(page, "Save");
  await row(page, "Oat milk").waitFor();
  await upToDate(page).waitFor();
  await screen(page, "items");
  await row(page, "Bread").click();
  await press(page, "Delete");
  await heading(page, "Deleted").waitFor();
  await row(page, "Bread").waitFor({ state: "detached" });
  await press(page, "Undo");
  await row(page, "Bread").waitFor();
  await row(page, "Bread").click();
  await press(page, "Delete");
  await press(page, "Close");
  await upToDate(page).waitFor();
  const kept = await (await fetch(`${API_URL}/api/items`, { headers: { Authorization: `Bearer ${await token("alice")}` } })).json();
  assert.deepEqual(kept.value.map((item) => item[textPointer.slice(1)]), ["Oat milk"]);

  await page.getByRole("tab", { name: "Token" }).click();
  await page.getByText("aud", { exact: true }).waitFor();
  await screen(page, "token");
  const alert = page.getByRole("alert");
  await press(page, "Send this access token");
  await page.getByText("200: the API admits it").waitFor();
  for (const [turn, code] of [["the ID token instead", "token.id_token"], ["a token cut short", /^(sig\.invalid|token\.malformed)/], ["a token for the app’s own ID", "aud.is_client"]]) {
    await press(page, `Send ${turn}`);
    await alert.getByText(code).waitFor();
    await alert.getByText("What to do: ", { exact: true }).waitFor();
  }
  await screen(page, "refusal");
  await press(page, "Get a new token");
  await page.getByRole("tab", { name: "Items" }).click();
  await row(page, "Oat milk").waitFor();

  await signOut(page);
  await screen(page, "signed-out");
  const left = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  assert.equal(left, "[{},{}]");
  await signIn(page, "bob");
  await page.getByText("Signed in as Bob Brown").waitFor();
  await heading(page, "Nothing here yet").waitFor();
  assert.equal(await page.getByText("Oat milk").count(), 0);
  await signOut(page);
  await signIn(page, "alice");
  await row(page, "Oat milk").waitFor();
});

test("what the API refuses of an item waits for the person", async (t) => {
  const page = await open(t, SPA_URL, ["422"]);
  await signIn(page, "bob");
  await press(page, "New item");
  await text(page).fill(tooLong("x"));
  await press(page, "Save");
  await page.getByRole("alert").getByRole("button", { name: "Try again" }).waitFor();
  await screen(page, "refused-item");
  await press(page, "Discard");
  await page.getByText("Nothing here yet").waitFor();
  await create(page, "Tea");
  await upToDate(page).waitFor();
});

test("changes are kept while the API does not answer", async (t) => {
  const page = await open(t, SPA_URL, ["ERR_FAILED"]);
  await signIn(page, "bob");
  await page.route(`${API_URL}/**`, (route) => route.abort());
  await create(page, "Made on a train");
  await page.getByText("1 change waits to be sent").waitFor();
  await screen(page, "unreachable");
  await press(page, "Sign out");
  await heading(page, "Not everything has been sent").waitFor();
  await press(page, "Close");
  await page.unroute(`${API_URL}/**`);
  await upToDate(page).waitFor();
  const kept = await (await fetch(`${API_URL}/api/items`, { headers: { Authorization: `Bearer ${await token("bob")}` } })).json();
  assert.ok(kept.value.some((item) => item[textPointer.slice(1)] === "Made on a train"));
});

test("who forgot the password resets it", async (t) => {
  const page = await open(t);
  await signInBy(page, "Sign in or sign up", (popup) => press(popup, "Forgot password"));
  await heading(page, "Forgotten password").waitFor();
  await screen(page, "forgotten");
  await signInBy(page, "Reset the password", async (popup) => {
    await popup.getByRole("heading", { name: "Reset a password" }).waitFor();
    await press(popup, "alice");
  });
  await heading(page, "The password is reset").waitFor();
  await signInBy(page, "Sign in", (popup) => choose(popup, "alice"));
  await upToDate(page).waitFor();
});

test("a cancelled sign-in, and one that fails", async (t) => {
  const page = await open(t);
  await signInBy(page, "Sign in or sign up", (popup) => press(popup, "Cancel"));
  await heading(page, "The sign-in was cancelled").waitFor();
  await signInBy(page, "Sign in or sign up", (popup) => press(popup, "Nobody we know"));
  await page.getByText(/AADB2C99002/).waitFor();
  await page.getByRole("alert").getByText("What to do: ", { exact: true }).waitFor();
  await screen(page, "sign-in-failed");
});

test("Entra External ID, by configuration", async (t) => {
  const page = await open(t, SPA_EXTERNAL_URL);
  await signIn(page, "carol");
  await create(page, "Carol's");
  await upToDate(page).waitFor();
  await page.getByRole("tab", { name: "Token" }).click();
  await page.getByText("the issuer of the tenant").waitFor();
  await signOut(page);
});
