// Writes the samples of the API's content as TypeScript: so the compiler holds each of
// them against the generated types, and main.ts names no member of the content.

import { readFileSync, writeFileSync } from "node:fs";

const read = (name) => JSON.parse(readFileSync(`../../handler/items/${name}`, "utf8"));
const { good, bad, text, filters = {} } = read("content.samples.json");
const { "x-filters": parameters } = read("content.schema.json");
const path = text.split("/").slice(1);
const queries = Object.entries(filters).map(([name, { value, selects }]) => (
  { query: { [name]: parameters[name].schema.type === "string" ? value : JSON.parse(value) }, selects }
));
const invalid = bad.filter(({ schema }) => schema !== false); // the others JavaScript may not be able to say: 1e400
const json = (value) => JSON.stringify(value, null, 2);
writeFileSync("build/samples.ts", `import type { components, paths } from "./api.js";

type Draft = components["schemas"]["Draft"];
type Query = NonNullable<paths["/items"]["get"]["parameters"]["query"]>;

export const good: [Draft, Draft, Draft, ...Draft[]] = ${json(good)};

/** Contents that are refused, and what the refusal points to. */
export const bad: { content: unknown; pointer: string }[] = ${json(invalid.map(({ content, pointer }) => ({ content, pointer })))};

/** Where a content's text is. */
export const path: string[] = ${json(path)};
export const patch: { [name: string]: unknown } = ${json(path.reduceRight((value, name) => ({ [name]: value }), "patched"))};

/** Filters of the list, and which of the good samples each selects. */
export const filters: { query: Query; selects: number }[] = ${json(queries)};
`);
