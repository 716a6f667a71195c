// What is kept on a phone outlives the app: the single-page app's modules over store.ts, as
// Metro puts them together, with a map in place of the phone's files.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import typescript from "typescript";

const { API_URL, SIGN_IN_URL } = process.env;
const dir = mkdtempSync(join(tmpdir(), "restart"));
after(() => rmSync(dir, { recursive: true }));

const spa = new URL("../../spa/", import.meta.url);
for (const name of readdirSync(spa)) if (name.endsWith(".js")) cpSync(new URL(name, spa), join(dir, name));
const store = readFileSync(new URL("../store.ts", import.meta.url), "utf8").replace('"./device"', '"./device.js"');
const compilerOptions = { target: "es2022", module: "es2022" };
writeFileSync(join(dir, "store.js"), typescript.transpileModule(store, { compilerOptions }).outputText);
writeFileSync(join(dir, "package.json"), '{"type":"module"}');
writeFileSync(join(dir, "device.js"), `
const files = new Map();
export const load = (owner) => files.get(owner) ?? null;
export const save = (owner, text) => void files.set(owner, text);
export const erase = (owner) => void files.delete(owner);`);
writeFileSync(join(dir, "auth.js"), `
export * from "./person.js";
export const host = () => "${new URL(SIGN_IN_URL).host}";
export const token = async (who) => (await fetch("${SIGN_IN_URL}/dev/token?user=" + who.name)).text();`);

globalThis.navigator ??= {};
navigator.onLine ??= true;
navigator.locks ??= { request: (_name, _options, work) => work() };
const module = (name) => import(pathToFileURL(join(dir, name)));
const [api, sync, kept, person, json, device] = await Promise.all(["api.js", "sync.js", "store.js", "person.js", "json.js", "device.js"].map(module));
const samples = json.parse(readFileSync(new URL("../../../handler/items/content.samples.json", import.meta.url), "utf8"));
const member = samples.text.slice(1);

const ownerOf = async (name) => person.ownerOf(person.decoded(await (await fetch(`${SIGN_IN_URL}/dev/token?user=${name}`)).text()));
const owners = { alice: await ownerOf("alice"), bob: await ownerOf("bob") };

/** Opens the app as a person, as after a start of the app. */
function start(name) {
  const who = { name, owner: owners[name], session: new AbortController() };
  kept.open(who, () => {});
  return who;
}
const reach = (url) => api.start({ api: `${url}/api` });
const content = (text) => ({ ...samples.good.at(-1), [member]: text });
const names = async () => (await kept.everything()).items.map((item) => item[member]).filter((name) => name.startsWith("restart"));

test("what was made without a network is sent after a restart, once", async () => {
  start("alice");
  reach("http://127.0.0.1:1"); // where nobody answers
  await sync.create(sync.draftOf(content("restart one")));
  await sync.create(sync.draftOf(content("restart two")));
  const [one, two] = await kept.queue();
  await sync.edit(one.item, sync.draftOf(content("restart one, edited")));
  const undo = await sync.remove(two.item);
  await sync.create(sync.draftOf(content("restart three")));
  await undo(); // takes nobody's place in the line
  await assert.rejects(sync.run(), /does not answer/);

  const who = start("alice"); // from the file alone
  assert.equal(await sync.waiting(), 3);
  reach(API_URL);
  assert.equal((await sync.run()).problem, undefined);
  assert.equal(await sync.waiting(), 0);
  const expected = ["restart one, edited", "restart three", "restart two"];
  assert.deepEqual((await names()).sort(), expected);
  assert.deepEqual((start("alice"), await names()).sort(), expected);
  await sync.run(); // nothing goes twice
  const there = await api.call(who, "GET", `${api.collection}?limit=200`);
  assert.deepEqual(there.data.value.map((item) => item[member]).filter((name) => name.startsWith("restart")).sort(), expected);
});

test("nobody sees, or sends, what is another's", async () => {
  const alice = start("alice");
  await sync.create(sync.draftOf(content("restart, alice's")));
  const late = sync.create(sync.draftOf(content("restart, too late")));
  start("bob");
  await assert.rejects(late, /signed out/);
  assert.equal(await sync.waiting(), 0);
  assert.deepEqual(await names(), []);
  await sync.run();
  assert.deepEqual(await names(), []);
  start("alice");
  assert.equal(await sync.waiting(), 1);
  kept.close();
  assert.equal(device.load(alice.owner), null, "nothing is left after the sign-out");
});
