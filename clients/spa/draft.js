// What is to be sent of what somebody typed into the fields of content.js.

import { fields } from "./content.js";
import * as json from "./json.js";

/**
 * A field of the editor, one for each member; content.js says what the parts are.
 * @typedef {{name: string, label: string, hint?: string, type?: string, rows?: number, show?: (value: any) => string,
 *   read: (typed: any) => string | undefined}} Field
 */

/** @type {Field[]} */
const all = fields;

/**
 * What the fields show of an item, or of none, by member.
 * @param {Record<string, any> | null} item
 * @returns {Record<string, string | boolean>}
 */
export function shownOf(item) {
  const shown = all.map(({ name, type, show = json.text }) => {
    const value = item?.[name];
    return [name, type === "checkbox" ? Boolean(value) : value === undefined ? "" : String(show(value) ?? "")];
  });
  return Object.fromEntries(shown);
}

/**
 * What is to be sent, or null where it cannot be: then wrong says why, by member. What
 * was not touched of an item is not sent if it is more than a text or a tick: another
 * spelling of it would do no good. before is what the fields showed at first.
 * @param {Record<string, any> | null} item
 * @param {Record<string, string | boolean>} typed
 * @param {Record<string, string | boolean>} before
 * @returns {{draft: import("./sync.js").Draft | null, wrong: Record<string, string>}}
 */
export function draftOf(item, typed, before) {
  /** @type {Record<string, string | undefined>} */
  const members = {};
  /** @type {Record<string, any>} */
  const shown = {};
  /** @type {Record<string, string>} */
  const wrong = {};
  let whole = true;
  for (const { name, read } of all) {
    const value = item?.[name];
    if (item && typed[name] === before[name] && (typeof value === "object" || json.isNumber(value))) {
      whole = false;
      continue;
    }
    try {
      const member = read(typed[name]);
      members[name] = member;
      shown[name] = member === undefined ? undefined : json.parse(member);
    } catch (/** @type {any} */ error) {
      wrong[name] = error.message;
    }
  }
  // In a part, null is what takes a member away.
  if (!whole) for (const name in members) if (item?.[name] !== undefined) members[name] ??= "null";
  return { draft: Object.keys(wrong).length ? null : { members, whole, shown }, wrong };
}
