// Takes the pictures of the README, for go run ./scripts/pictures: the pages in PAGES,
// which look like terminals, and the app as it is used.

import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { browser, create, item, picture, signIn, upToDate } from "./world.mjs";

const { PAGES, SCREENSHOTS, SPA_URL } = process.env;

/** A page whose pixels are fine enough for a sharp picture. */
async function open(url, viewport) {
  const context = await browser.newContext({ viewport, deviceScaleFactor: 2, colorScheme: "light" });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(url);
  return page;
}

try {
  for (const file of (await readdir(PAGES)).filter((name) => name.endsWith(".html"))) {
    const page = await open(`file://${join(PAGES, file)}`, { width: 400, height: 200 });
    const { width, height } = await page.locator("body").boundingBox();
    await page.setViewportSize({ width: Math.ceil(width), height: Math.ceil(height) });
    await picture(page, basename(file, ".html"));
  }

  const page = await open(SPA_URL, { width: 600, height: 552 });
  const keep = (name) => page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
  await signIn(page, "bob");
  for (const name of ["Milk", "Rye bread"]) await create(page, name);
  await upToDate(page);
  await page.context().setOffline(true);
  await create(page, "Oat milk");
  await item(page, "Oat milk").getByText("Waits to be sent").waitFor();
  await page.locator("#status:is([data-state=offline], [data-state=unreachable])").waitFor();
  await keep("app-offline");
  await page.context().setOffline(false);
  await page.evaluate(() => dispatchEvent(new Event("online")));
  await upToDate(page);
  await page.getByRole("link", { name: "Token" }).click();
  await page.getByText("read to list, write to change").waitFor();
  await keep("app-token");
} finally {
  await browser.close();
}
