// The form that edits an item: its fields are those of content.js.

import { fields } from "./content.js";
import { draftOf, shownOf } from "./draft.js";
import { $, element } from "./page.js";

/** @typedef {import("./draft.js").Field} Field */

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
  const put = (input, value) => (input.type === "checkbox" ? (input.checked = value) : (input.value = value));
  for (const [name, value] of Object.entries(shownOf(item))) {
    put(inputs.get(name), value);
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
 * What is to be sent, or null where it cannot be: then the fields say why.
 * @param {Record<string, any> | null} item
 */
export function read(item) {
  const { draft, wrong } = draftOf(item, typed(), before);
  for (const { name } of all) say(name, wrong[name] ?? "");
  inputs.get(Object.keys(wrong)[0])?.focus();
  return draft;
}
