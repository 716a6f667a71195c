package items

import _ "embed"

// Schema is the JSON Schema of [Content] (draft 2020-12), to which x-filters adds the
// parameters of [Filters], each with description and schema.
//
//go:embed content.schema.json
var Schema string

// Samples is content.samples.json, for package itemstest. No program that is deployed uses
// it, and the linker leaves out what is not used.
//
//go:embed content.samples.json
var Samples string
