// JSON without loss: JavaScript's numbers have about 16 digits, JSON's have as many as
// were written. A number that JavaScript would round is read as a string of its digits
// after a mark that is not seen (U+2060, word joiner), which says that it is a number,
// and is written as the number that it was.

const mark = "\u2060";

// Strings and numbers, as they stand in a JSON text.
const token = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;

/**
 * The digits that count, and the power of ten of the first.
 * @param {string} number
 */
function value(number) {
  const [, sign, whole, fraction = "", power = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/.exec(number) ?? [];
  const digits = (whole + fraction).replace(/^0+/, "");
  if (!digits) return "0";
  const lead = whole.length + Number(power) - (whole.length + fraction.length - digits.length);
  return `${sign}${digits.replace(/0+$/, "")}e${lead}`;
}

/** @param {string} number */
function exact(number) {
  if (number.length < 16 && !/e/i.test(number)) return true;
  return Number.isFinite(Number(number)) && value(number) === value(String(Number(number)));
}

/**
 * @param {string} text
 * @returns {any}
 */
export const parse = (text) =>
  JSON.parse(text.replace(token, (t) => {
    // A string that begins with the mark gets another one, so that it stays a string.
    if (t[0] === '"') return t.replace(/^"(?:\u2060|\\u2060)/, `"${mark}${mark}`);
    return exact(t) ? t : `"${mark}${t}"`;
  }));

/**
 * @param {unknown} value
 * @param {number} [space]
 * @returns {string}
 */
export const stringify = (value, space) =>
  JSON.stringify(value, null, space)?.replace(token, (t) => {
    if (t[0] !== '"' || t[1] !== mark) return t;
    return t[2] === mark ? `"${t.slice(2)}` : t.slice(2, -1);
  });

/**
 * Whether a value that was read is a number, with all its digits or as JavaScript's own.
 * @param {unknown} value
 */
export const isNumber = (value) => typeof value === "number" || (typeof value === "string" && value[0] === mark && value[1] !== mark);

/**
 * A value as people type it: a text without its quotes, a number with its digits.
 * @param {any} value
 */
export const text = (value) => (typeof value !== "string" ? value : value[0] === mark ? value.slice(1) : value);
