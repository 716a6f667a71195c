// What docs/spa.md shows for other frameworks works as it stands there.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { compile } from "svelte/compiler";
import { SPA_URL, browser, contentOf, create, signIn, textPointer, upToDate, visit } from "./world.mjs";

after(() => browser.close());

const docs = await readFile(new URL("../../../docs/spa.md", import.meta.url), "utf8");
const [, follow] = /```js\n(.*?)```/s.exec(docs);
const line = (framework) => new RegExp(`^- ${framework}: \`(.*)\`$`, "m").exec(docs)[1];
const text = textPointer.slice(1);

// A component around each line, which lists the rows; mount(who, place) shows it.
const components = {
  React: `
    import { createElement, useEffect, useState } from "react";
    import { createRoot } from "react-dom/client";
    import { follow } from "/follow.js";
    function List({ who }) {
      ${line("React")}
      return createElement("ul", {}, rows.map(({ item }) => createElement("li", { key: item.id }, item.${text})));
    }
    export const mount = (who, place) => createRoot(place).render(createElement(List, { who }));`,
  Vue: `
    import { createApp, h, shallowRef } from "vue";
    import { follow } from "/follow.js";
    const List = {
      props: ["who"],
      setup({ who }) {
        ${line("Vue")}
        return () => h("ul", rows.value.map(({ item }) => h("li", { key: item.id }, item.${text})));
      },
    };
    export const mount = (who, place) => createApp(List, { who }).mount(place);`,
  Svelte: `
    import { mount as show } from "svelte";
    import List from "List.svelte";
    export const mount = (who, place) => show(List, { target: place, props: { who } });`,
};

const svelte = `
  <script>
    import { follow } from "/follow.js";
    let { who } = $props();
    ${line("Svelte")}
  </script>
  <ul>{#each rows as { item } (item.id)}<li>{item.${text}}</li>{/each}</ul>`;

/** The component with its framework, as one module; the app's own modules stay outside it. */
async function bundled(framework) {
  const plugin = {
    name: "svelte",
    setup(build) {
      build.onResolve({ filter: /^List\.svelte$/ }, () => ({ path: "List.svelte", namespace: "svelte" }));
      build.onLoad({ filter: /./, namespace: "svelte" }, () => ({ contents: compile(svelte, { generate: "client" }).js.code, resolveDir: here }));
    },
  };
  const here = fileURLToPath(new URL(".", import.meta.url));
  const { outputFiles } = await build({
    stdin: { contents: components[framework], resolveDir: here }, bundle: true, write: false, format: "esm", external: ["/follow.js"],
    conditions: ["browser"], define: { "process.env.NODE_ENV": '"production"' }, plugins: [plugin],
  });
  return outputFiles[0].text;
}

test("auth.js and sync.js without the page, as the documentation binds them", async (t) => {
  const page = await visit(t, { serviceWorkers: "block" });
  await signIn(page, "alice");
  await create(page, "there before");
  await upToDate(page);
  const serve = (name, body) => page.context().route(`${SPA_URL}/${name}`, (route) => route.fulfill({ contentType: "text/javascript", body }));
  await serve("follow.js", follow);
  await serve("redirect.js", ""); // a page of the app's without the app
  for (const framework of Object.keys(components)) {
    await serve(`${framework}.js`, await bundled(framework));
    const other = await page.context().newPage();
    const errors = [];
    other.on("pageerror", (error) => errors.push(String(error)));
    await other.goto(`${SPA_URL}/redirect.html`);
    await other.addScriptTag({ url: "node_modules/@azure/msal-browser/lib/msal-browser.min.js" });
    await other.evaluate(async ([framework, content]) => {
      const [api, auth, sync, { mount }] = await Promise.all(["api", "auth", "sync", framework].map((name) => import(`/${name}.js`)));
      const config = await (await fetch("/config.json")).json();
      api.start(config);
      await auth.start(config);
      await auth.comeBack();
      const place = document.body.appendChild(document.createElement("div"));
      mount(await auth.current(), place);
      globalThis.add = async () => {
        await sync.create(sync.draftOf(content));
        await sync.run();
      };
    }, [framework, contentOf(`made with ${framework}`)]);
    await other.getByRole("listitem").filter({ hasText: "there before" }).first().waitFor();
    await other.evaluate(() => globalThis.add());
    await other.getByRole("listitem").filter({ hasText: `made with ${framework}` }).waitFor();
    await page.getByText(`made with ${framework}`).first().waitFor();
    assert.deepEqual(errors, []);
    await other.close();
  }
});
