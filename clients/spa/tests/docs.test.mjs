// What docs/spa.md shows for other frameworks works as it stands there.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, test } from "node:test";
import { SPA_URL, browser, contentOf, signIn, textPointer, upToDate, visit } from "./world.mjs";

after(() => browser.close());

test("auth.js and sync.js without the page, as the documentation binds them", async (t) => {
  const docs = await readFile(new URL("../../../docs/spa.md", import.meta.url), "utf8");
  const [, code] = /```js\n(.*?)```/s.exec(docs);
  const page = await visit(t, { serviceWorkers: "block" });
  await signIn(page, "alice");
  await upToDate(page);
  await page.context().route(`${SPA_URL}/follow.js`, (route) => route.fulfill({ contentType: "text/javascript", body: code }));
  // A page of the app's without the app.
  await page.context().route(`${SPA_URL}/redirect.js`, (route) => route.fulfill({ contentType: "text/javascript", body: "" }));
  const other = await page.context().newPage();
  await other.goto(`${SPA_URL}/redirect.html`);
  await other.addScriptTag({ url: "node_modules/@azure/msal-browser/lib/msal-browser.min.js" });
  const text = textPointer.slice(1);
  const bound = await other.evaluate(async (content) => {
    const [api, auth, sync, { follow }] = await Promise.all(["api", "auth", "sync", "follow"].map((name) => import(`/${name}.js`)));
    const config = await (await fetch("/config.json")).json();
    api.start(config);
    await auth.start(config);
    await auth.comeBack();
    // A busy machine drops a connection now and then; an app tries again, as the page does.
    const insist = async (work) => {
      for (let n = 1; ; n++) {
        try {
          return await work();
        } catch (cause) {
          if (!(cause instanceof auth.Unreachable) || n === 5) throw cause;
        }
      }
    };
    globalThis.rows = [];
    const person = await auth.current();
    await insist(() => follow(person, (rows) => (globalThis.rows = rows)));
    await sync.create(sync.draftOf(content));
    await insist(() => sync.run());
    return true;
  }, contentOf("made by another framework"));
  assert.ok(bound);
  const sent = ([text, name]) => globalThis.rows.some(({ item, entry }) => item[text] === name && !entry);
  await other.waitForFunction(sent, [text, "made by another framework"]);
  await page.getByText("made by another framework").first().waitFor();
});
