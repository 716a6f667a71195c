// Calls the API through a client whose types are generated from its OpenAPI
// document: what compiles here is what the document promises, and what runs is what
// the API keeps. The contents are the samples that the API's own tests use, written as
// TypeScript by samples.mjs. API_URL is the API's address without /api, TOKEN an access
// token with both scopes.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./build/api.js";
import { bad, filters, good, patch, path as textPath } from "./build/samples.js";

type Draft = components["schemas"]["Draft"];
type Item = components["schemas"]["Item"];
type Entry = components["schemas"]["DeltaEntry"];

const { API_URL: url, TOKEN: token } = process.env;
assert(url && token, "API_URL and TOKEN are required");
const api = createClient<paths>({ baseUrl: `${url}/api`, headers: { Authorization: `Bearer ${token}` } });

// What a call that must succeed answers, or the problem's own words.
function ok<T>(answer: { data?: T; error?: components["schemas"]["Problem"] }): T {
  if (answer.error) throw new Error(`${answer.error.code}: ${answer.error.detail}`);
  assert(answer.data !== undefined);
  return answer.data;
}

const whole = (answer: object): Item => {
  assert("createdAt" in answer, "the whole item was asked for");
  return answer as Item;
};

/** Holds an item against what it was made of. */
const has = (item: Item, content: Draft) => assert.deepEqual({ ...item, ...content }, item);

// Create, twice with one key.
const key = { "Idempotency-Key": randomUUID() };
const first = await api.POST("/items", { params: { header: key }, body: good[0] });
const item = whole(ok(first));
has(item, good[0]);
const again = await api.POST("/items", { params: { header: key }, body: good[0] });
assert.deepEqual(again.data, item);
assert.equal(again.response.headers.get("Idempotency-Replayed"), "true");
for (const { content, pointer } of bad) {
  const refused = await api.POST("/items", { body: content as Draft });
  assert.equal(refused.error?.code, "item.invalid");
  assert.equal(refused.error?.errors?.[0]?.pointer, pointer);
}

const batch = ok(await api.POST("/items/batch", { body: { items: good.slice(1) } }));
const all = [item, ...batch.value.map(whole)];
assert.equal(all.length, good.length);

// Read.
assert.deepEqual(ok(await api.GET("/items/{id}", { params: { path: { id: item.id } } })), item);
const page = ok(await api.GET("/items", { params: { query: { limit: 2 } } }));
assert.deepEqual(page.value, all.slice(-2).reverse());
assert(page.nextLink, "there are more");
for (const { query, selects } of filters) {
  assert.deepEqual(ok(await api.GET("/items", { params: { query: { limit: 2, ...query } } })).value, [all[selects]]);
}

// Sync: everything, then what changes below.
const start = ok(await api.GET("/items/delta"));
assert.equal(start.value.length, good.length);
assert(start.deltaLink, "they fit in one part");
const deltaToken = new URL(start.deltaLink, url).searchParams.get("token");
assert(deltaToken);

// Change, with the version that was read.
const path = { id: item.id };
const put = whole(ok(await api.PUT("/items/{id}", { params: { path, header: { "If-Match": item.etag } }, body: { ...item, ...good[1] } })));
has(put, good[1]);
const late = await api.PATCH("/items/{id}", { params: { path, header: { "If-Match": item.etag } }, body: patch });
assert.equal(late.error?.code, "item.changed");
const patched = whole(ok(await api.PATCH("/items/{id}", { params: { path, header: { "If-Match": put.etag } }, body: patch })));
assert.equal(textPath.reduce<any>((value, name) => value[name], patched), "patched");
const other = all[1]!;
const gone: Entry = ok(await api.DELETE("/items/{id}", { params: { path: { id: other.id }, header: { "If-Match": other.etag } } }));

const delta = ok(await api.GET("/items/delta", { params: { query: { token: deltaToken } } }));
assert.deepEqual(delta.value, [patched, gone]);
console.log("The generated client and the API agree.");
