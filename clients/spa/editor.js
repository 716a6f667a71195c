// The form that edits an item: its fields are those of content.js.

import { fields } from "./content.js";

const inputs = new Map(); // by member
let before = new Map(); // what they showed at first

function element(tag, properties = {}, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
}

/** Makes the fields. */
export function build(container) {
  for (const { name, label, hint, type, rows } of fields) {
    const input = element(rows ? "textarea" : "input", { id: `field-${name}`, autocomplete: "off", ...(rows ? { rows, spellcheck: false } : { type }) });
    input.setAttribute("aria-describedby", `error-${name}`);
    inputs.set(name, input);
    const words = element("label", { htmlFor: input.id }, label);
    if (hint) words.append(" ", element("span", { className: "quiet", textContent: hint }));
    container.append(words, input, element("p", { id: `error-${name}`, className: "error", hidden: true }));
  }
}

const typed = (input) => (input.type === "checkbox" ? input.checked : input.value);

/** Shows an item, or nothing. */
export function fill(item) {
  for (const { name, show = (value) => value } of fields) {
    const input = inputs.get(name);
    const value = item?.[name] === undefined ? undefined : show(item[name]);
    if (input.type === "checkbox") input.checked = Boolean(value);
    else input.value = value ?? "";
    say(name, "");
  }
  before = new Map(fields.map(({ name }) => [name, typed(inputs.get(name))]));
}

/** Says what is wrong with a field, or with the first one. */
export function say(name = fields[0].name, text) {
  const p = document.getElementById(`error-${name}`);
  p.textContent = text;
  p.hidden = !text;
  inputs.get(name).setAttribute("aria-invalid", String(Boolean(text)));
}

/**
 * What is to be sent, or null where it cannot be. members has the JSON of what was
 * typed, whole says that nothing else is to be left of the content, and shown is how
 * the page shows it until the answer comes.
 *
 * What was not touched of an item is not sent if reading it may have rounded its
 * numbers.
 */
export function read(item) {
  const members = {};
  const shown = {};
  let whole = true;
  let wrong = null;
  for (const { name, read } of fields) {
    const input = inputs.get(name);
    const value = item?.[name];
    say(name, "");
    if (item && typed(input) === before.get(name) && (typeof value === "object" || typeof value === "number")) {
      whole = false;
      continue;
    }
    try {
      members[name] = read(typed(input));
      shown[name] = members[name] === undefined ? undefined : JSON.parse(members[name]);
    } catch (error) {
      say(name, error.message);
      wrong ??= input;
    }
  }
  // In a part, null is what takes a member away.
  if (!whole) for (const name in members) if (item[name] !== undefined) members[name] ??= "null";
  wrong?.focus();
  return wrong ? null : { members, whole, shown };
}

/** An item as it would be typed, to create it again. */
export function draftOf(item) {
  const shown = Object.fromEntries(fields.map(({ name }) => [name, item[name]]));
  const members = Object.fromEntries(Object.entries(shown).map(([name, value]) => [name, JSON.stringify(value)]));
  return { members, whole: true, shown };
}
