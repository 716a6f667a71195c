// What the page shows of an item's content, and the fields of its editor. This is the
// one file to replace with your own domain; the members are those of
// handler/items/content.go.

import * as json from "./json.js";

/** @typedef {import("./sync.js").Item} Item */

/**
 * What an item is called, in its row and where it is spoken of.
 * @param {Item} item
 */
export const title = (item) => item.name;

/**
 * What stands below the title, or "". The search looks at both.
 * @param {Item} item
 */
export const details = ({ properties = {} }) =>
  Object.entries(properties)
    .map(([name, value]) => `${name}: ${typeof value === "object" ? json.stringify(value) : json.text(value)}`)
    .join(", ");

/**
 * The editor's fields, one a member: name, label, and
 *   type   of the input: text, checkbox, datetime-local, …; none where rows make it a textarea
 *   show   what stands in the field for a value; without it the value itself
 *   read   the member's JSON for what was typed (or ticked), undefined for none; throws
 *          an Error that says what would be right
 * @type {import("./draft.js").Field[]}
 */
export const fields = [
  {
    name: "name",
    label: "Name",
    type: "text",
    read(typed) {
      if (!typed.trim()) throw new Error("A name is required.");
      return JSON.stringify(typed.trim());
    },
  },
  {
    name: "properties",
    label: "Properties",
    hint: "(a JSON object, or nothing)",
    rows: 6,
    show: (value) => json.stringify(value, 2), // which keeps all digits of a number
    // As it was typed, so that numbers keep their digits.
    read(typed) {
      if (!typed.trim()) return undefined;
      let value;
      try {
        value = JSON.parse(typed);
      } catch (/** @type {any} */ error) {
        throw new Error(`This is not valid JSON: ${error.message}`);
      }
      if (value === null || typeof value !== "object" || Array.isArray(value)) {
        throw new Error('It must be a JSON object, such as {"litres": 2}.');
      }
      return typed.trim();
    },
  },
];
