// Calls the API through a client whose types are generated from its OpenAPI
// document: what compiles here is what the document promises, and what runs is what
// the API keeps. API_URL is the API's address without /api, TOKEN an access token
// with both scopes.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./build/api.js";

type Item = components["schemas"]["Item"];
type Deletion = components["schemas"]["Deletion"];

const { API_URL: url, TOKEN: token } = process.env;
assert(url && token, "API_URL and TOKEN are required");
const api = createClient<paths>({ baseUrl: `${url}/api`, headers: { Authorization: `Bearer ${token}` } });

// What a call that must succeed answers, or the problem's own words.
function ok<T>(answer: { data?: T; error?: components["schemas"]["Problem"] }): T {
  if (answer.error) throw new Error(`${answer.error.code}: ${answer.error.detail}`);
  assert(answer.data !== undefined);
  return answer.data;
}

const whole = (answer: Item | { id: string; etag: string }): Item => {
  assert("name" in answer, "the whole item was asked for");
  return answer;
};

// Create, twice with one key.
const key = { "Idempotency-Key": randomUUID() };
const body = { name: "Milk", properties: { litres: 1.5 } };
const first = await api.POST("/items", { params: { header: key }, body });
const milk = whole(ok(first));
const again = await api.POST("/items", { params: { header: key }, body });
assert.deepEqual(again.data, milk);
assert.equal(again.response.headers.get("Idempotency-Replayed"), "true");
const refused = await api.POST("/items", { body: { name: "" } });
assert.equal(refused.error?.code, "item.invalid");
assert.equal(refused.error?.errors?.[0]?.pointer, "/name");

const batch = ok(await api.POST("/items/batch", { body: { items: [{ name: "Bread" }, { name: "Tea" }] } }));
assert.equal(batch.value.length, 2);

// Read.
assert.deepEqual(ok(await api.GET("/items/{id}", { params: { path: { id: milk.id } } })), milk);
const page = ok(await api.GET("/items", { params: { query: { limit: 2, name_prefix: "M" } } }));
assert.deepEqual(page.value, [milk]);

// Sync: everything, then what changes below.
const start = ok(await api.GET("/items/delta"));
assert.equal(start.value.length, 3);
assert(start.deltaLink, "three items fit in one part");
const deltaToken = new URL(start.deltaLink, url).searchParams.get("token");
assert(deltaToken);

// Change, with the version that was read.
const path = { id: milk.id };
const put = whole(ok(await api.PUT("/items/{id}", { params: { path, header: { "If-Match": milk.etag } }, body: { ...milk, name: "Oat milk" } })));
const late = await api.PATCH("/items/{id}", { params: { path, header: { "If-Match": milk.etag } }, body: { name: "too late" } });
assert.equal(late.error?.code, "item.changed");
const patched = whole(ok(await api.PATCH("/items/{id}", { params: { path, header: { "If-Match": put.etag } }, body: { properties: { litres: null, fat: 3.5 } } })));
assert.deepEqual(patched.properties, { fat: 3.5 });
const bread = batch.value[0];
assert(bread);
const gone: Deletion = ok(await api.DELETE("/items/{id}", { params: { path: { id: bread.id }, header: { "If-Match": bread.etag } } }));

const delta = ok(await api.GET("/items/delta", { params: { query: { token: deltaToken } } }));
assert.deepEqual(delta.value, [patched, gone]);
console.log("The generated client and the API agree.");
