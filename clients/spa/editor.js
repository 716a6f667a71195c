// The form that edits an item: its fields are those of content.js.

import { fields } from "./content.js";
import * as json from "./json.js";
import { $, element } from "./page.js";

/**
 * A field of the editor, one for each member; content.js says what the parts are.
 * @typedef {{name: string, label: string, hint?: string, type?: string, rows?: number, show?: (value: any) => string,
 *   read: (typed: any) => string | undefined}} Field
 */

/** @type {Field[]} */
const all = fields;
/** @type {Map<string, any>} */
const inputs = new Map(); // by member
/** @type {Record<string, string | boolean>} */
let before = {}; // what they showed at first

/**
 * Makes the fields.
 * @param {HTMLElement} container
 */
export function build(container) {
  for (const { name, label, hint, type, rows } of all) {
    const input = element(rows ? "textarea" : "input", { id: `field-${name}`, autocomplete: "off", dir: "auto", ...(rows ? { rows, spellcheck: false } : { type }) });
    input.setAttribute("aria-describedby", `error-${name}`);
    inputs.set(name, input);
    const words = element("label", { htmlFor: input.id }, label);
    if (hint) words.append(" ", element("span", { className: "quiet", textContent: hint }));
    container.append(words, input, element("p", { id: `error-${name}`, className: "error", hidden: true }));
  }
}

/** @param {any} input */
const valueOf = (input) => (input.type === "checkbox" ? input.checked : input.value);

/**
 * What stands in the fields, by member.
 * @returns {Record<string, string | boolean>}
 */
export const typed = () => Object.fromEntries([...inputs].map(([name, input]) => [name, valueOf(input)]));

/**
 * Shows an item, or nothing, and over it what was typed before.
 * @param {Record<string, any> | null} item
 * @param {Record<string, string | boolean>} [over]
 */
export function fill(item, over) {
  /** @param {any} input @param {unknown} value */
  const put = (input, value) => {
    if (input.type === "checkbox") input.checked = Boolean(value);
    else input.value = value ?? "";
  };
  for (const { name, show = json.text } of all) {
    put(inputs.get(name), item?.[name] === undefined ? undefined : show(item[name]));
    say(name, "");
  }
  before = typed();
  for (const name in over) if (inputs.has(name)) put(inputs.get(name), over[name]);
}

/**
 * Says what is wrong with a field, or with the first one.
 * @param {string | undefined} name
 * @param {string} text
 */
export function say(name = all[0].name, text) {
  const p = $(`error-${name}`);
  p.textContent = text;
  p.hidden = !text;
  inputs.get(name).setAttribute("aria-invalid", String(Boolean(text)));
}

/**
 * What is to be sent, or null where it cannot be. What was not touched of an item is
 * not sent if it is more than a text or a tick: another spelling of it would do no good.
 * @param {Record<string, any> | null} item
 * @returns {import("./sync.js").Draft | null}
 */
export function read(item) {
  /** @type {Record<string, string | undefined>} */
  const members = {};
  /** @type {Record<string, any>} */
  const shown = {};
  let whole = true;
  let wrong = null;
  for (const { name, read } of all) {
    const input = inputs.get(name);
    const value = item?.[name];
    say(name, "");
    if (item && valueOf(input) === before[name] && (typeof value === "object" || json.isNumber(value))) {
      whole = false;
      continue;
    }
    try {
      const member = read(valueOf(input));
      members[name] = member;
      shown[name] = member === undefined ? undefined : json.parse(member);
    } catch (/** @type {any} */ error) {
      say(name, error.message);
      wrong ??= input;
    }
  }
  // In a part, null is what takes a member away.
  if (!whole) for (const name in members) if (item?.[name] !== undefined) members[name] ??= "null";
  wrong?.focus();
  return wrong ? null : { members, whole, shown };
}
