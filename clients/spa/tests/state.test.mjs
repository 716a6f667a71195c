// The state machine and the JSON of the app, which need no browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as json from "../json.js";
import { initial, next, pause, says, spoken } from "../state.js";

const at = Date.UTC(2026, 10, 27);
const current = next(initial, { type: "learned", at });
const failed = (state, kind, more) => next(state, { type: "failed", kind, at, host: "api.example", title: "No", ...more });
const kinds = ["offline", "unreachable", "cors", "busy", "broken", "refused", "sign-in"];
const page = { visible: true, idle: 0, waiting: 0 };

test("up to date is said after a delta was read to its end, and in no other state", () => {
  assert.match(says(current, 0), /^Up to date at /);
  assert.equal(says(current, 2), "2 changes wait to be sent.");
  assert.doesNotMatch(says(initial, 0), /^Up to date/);
  for (const before of [initial, current]) {
    assert.doesNotMatch(says(next(before, { type: "silent", host: "api.example" }), 0), /^Up to date/);
    for (const kind of kinds) {
      const state = failed(before, kind, { retryAfter: kind === "busy" ? 3 : undefined });
      assert.doesNotMatch(says(state, 0), /^Up to date/);
      assert.match(says(state, 1), /1 change waits to be sent\.$/);
      assert.match(says(next(state, { type: "learned", at }), 0), /^Up to date at /);
    }
  }
});

test("silence is told of a list that was well, and changes nothing of a failure", () => {
  const slow = next(current, { type: "silent", host: "api.example" });
  assert.match(says(slow, 0), /^No answer from api\.example yet\. The list is from /);
  const offline = failed(current, "offline");
  assert.equal(next(offline, { type: "silent", host: "api.example" }), offline);
});

test("what is read out concerns people, and is read out once", () => {
  assert.equal(spoken(initial, current), "");
  assert.equal(spoken(current, next(current, { type: "learned", at: at + 30_000 })), "");
  for (const kind of kinds) {
    const state = failed(current, kind);
    assert.ok(spoken(current, state));
    assert.equal(spoken(state, failed(state, kind)), "");
    assert.equal(spoken(state, current), "Up to date again.");
  }
});

test("when the list is looked at again", () => {
  assert.equal(pause(current, page), 30);
  assert.equal(pause(current, { ...page, idle: 121 }), 60);
  assert.equal(pause(current, { ...page, idle: 3600 }), 300);
  assert.equal(pause(current, { ...page, visible: false }), Infinity);
  const offline = failed(current, "offline");
  assert.equal(pause(offline, { ...page, visible: false }), Infinity);
  assert.equal(pause(offline, { ...page, visible: false, waiting: 1 }), 2); // it is to be sent
  let state = offline;
  for (const seconds of [4, 8, 16, 30, 30]) assert.equal(pause((state = failed(state, "offline")), page), seconds);
  assert.equal(pause(state, { ...page, idle: 3600 }), 64);
  assert.equal(pause(failed(current, "busy", { retryAfter: 7 }), page), 7);
  assert.equal(pause(failed(current, "sign-in", { retryAfter: Infinity }), page), Infinity);
  assert.equal(pause(failed(current, "refused"), page), 5);
});

test("numbers keep their digits", () => {
  for (const text of [
    '{"n":12345678901234567890}', "[-0.30000000000000000001,1e400]", '{"a":[{"b":9007199254740993}],"9007199254740993":"9007199254740993"}',
    '{"a":"\u2060","b":"\u20601","\u2060":1}', '"\u2060\\"12345678901234567890"',
  ]) {
    assert.equal(json.stringify(json.parse(text)), text);
  }
  assert.deepEqual(json.parse('{"a":1.50,"b":1e3,"c":100000000000000000000}'), { a: 1.5, b: 1000, c: 1e20 });
  assert.equal(json.text(json.parse("12345678901234567890")), "12345678901234567890");
  assert.ok(json.isNumber(json.parse("12345678901234567890")) && !json.isNumber(json.parse('"\u20601"')));
  assert.throws(() => json.parse('{"a":12345678901234567890'), SyntaxError);
});
