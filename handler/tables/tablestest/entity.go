package tablestest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Azure's limits (Microsoft, "Understanding the Table service data model"). Strings count in UTF-16 units.
const (
	maxKey          = 512
	maxString       = 32 << 10
	maxBinary       = 64 << 10 // bytes
	maxName         = 255
	maxProperties   = 252     // besides PartitionKey, RowKey and Timestamp
	maxEntity       = 1 << 20 // bytes, as entitySize counts them
	ticksPerSecond  = 10_000_000
	nanosPerTick    = 100
	timestampLayout = "2006-01-02T15:04:05.9999999Z"
)

var (
	firstDateTime = ticks(time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC))
	lastDateTime  = ticks(time.Date(9999, 12, 31, 23, 59, 59, 999_999_900, time.UTC))
	guidPattern   = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
)

// The EDM types of a property (Microsoft, "Payload format for Table service operations").
const (
	edmString   = "Edm.String"
	edmInt32    = "Edm.Int32"
	edmInt64    = "Edm.Int64"
	edmDouble   = "Edm.Double"
	edmBoolean  = "Edm.Boolean"
	edmDateTime = "Edm.DateTime"
	edmGuid     = "Edm.Guid"
	edmBinary   = "Edm.Binary"
)

type value struct {
	edm    string
	text   string // Edm.String, Edm.Guid in lower case, the bytes of Edm.Binary
	number int64  // Edm.Int32, Edm.Int64, Edm.Boolean as 0 and 1, Edm.DateTime in ticks since 1970
	double float64
}

type property struct {
	name     string
	value    value
	typeJSON string // `"name@odata.type":"Edm.Int64",`, "" where the JSON value tells its type
	json     string // `"name":"1"`
}

// entity is what is stored; it is never changed, only replaced.
type entity struct {
	partitionKey, rowKey string
	timestamp            int64 // ticks since 1970
	properties           []property

	etag       string
	etagJSON   string    // `"odata.etag":"…",`
	systemJSON [3]string // `"PartitionKey":"…",` and so on, as systemNames
	jsonSize   int       // bytes in an answer, roughly
	size       int       // bytes in memory, roughly
}

var systemNames = [3]string{"PartitionKey", "RowKey", "Timestamp"}

func ticks(t time.Time) int64 {
	return t.Unix()*ticksPerSecond + int64(t.Nanosecond())/nanosPerTick
}

func timeOf(ticks int64) time.Time {
	seconds, rest := ticks/ticksPerSecond, ticks%ticksPerSecond
	if rest < 0 {
		seconds, rest = seconds-1, rest+ticksPerSecond
	}
	return time.Unix(seconds, rest*nanosPerTick).UTC()
}

func formatTicks(ticks int64) string { return timeOf(ticks).Format(timestampLayout) }

func newEntity(partitionKey, rowKey string, properties []property, timestamp int64) *entity {
	e := &entity{partitionKey: partitionKey, rowKey: rowKey, timestamp: timestamp, properties: properties}
	e.etag = `W/"datetime'` + url.QueryEscape(formatTicks(timestamp)) + `'"`
	e.etagJSON = `"odata.etag":` + quote(e.etag) + `,`
	for i, text := range []string{partitionKey, rowKey, formatTicks(timestamp)} {
		e.systemJSON[i] = quote(systemNames[i]) + ":" + quote(text) + ","
		e.jsonSize += len(e.systemJSON[i])
	}
	e.size = 600 + len(partitionKey) + len(rowKey)
	for _, p := range properties {
		e.jsonSize += len(p.typeJSON) + len(p.json)
		e.size += 150 + len(p.name) + len(p.value.text)
	}
	e.jsonSize += len(e.etagJSON)
	e.size += e.jsonSize
	return e
}

func (e *entity) get(name string) (value, bool) {
	switch name {
	case "PartitionKey":
		return value{edm: edmString, text: e.partitionKey}, true
	case "RowKey":
		return value{edm: edmString, text: e.rowKey}, true
	case "Timestamp":
		return value{edm: edmDateTime, number: e.timestamp}, true
	}
	for i := range e.properties {
		if e.properties[i].name == name {
			return e.properties[i].value, true
		}
	}
	return value{}, false
}

func (e *entity) dump() map[string]any {
	m := map[string]any{
		"PartitionKey": e.partitionKey,
		"RowKey":       e.rowKey,
		"Timestamp":    timeOf(e.timestamp),
		"odata.etag":   e.etag,
	}
	for _, p := range e.properties {
		switch p.value.edm {
		case edmInt32:
			m[p.name] = int32(p.value.number)
		case edmInt64:
			m[p.name] = p.value.number
		case edmDouble:
			m[p.name] = p.value.double
		case edmBoolean:
			m[p.name] = p.value.number == 1
		case edmDateTime:
			m[p.name] = timeOf(p.value.number)
		case edmBinary:
			m[p.name] = []byte(p.value.text)
		default:
			m[p.name] = p.value.text
		}
	}
	return m
}

// draft is an entity as a request brings it. A key that the body lacks is nil.
type draft struct {
	partitionKey, rowKey *string
	properties           []property
}

// readEntity reads an entity in OData's JSON format and checks everything that can be checked without what is stored.
func readEntity(body []byte) (draft, *serviceError) {
	members, refusal := readObject(body)
	if refusal != nil {
		return draft{}, refusal
	}
	types := map[string]string{}
	for _, m := range members {
		if name, ok := strings.CutSuffix(m.name, "@odata.type"); ok {
			var edm string
			if err := json.Unmarshal(m.json, &edm); err != nil {
				return draft{}, invalidInput("The annotation '%s' is not a string.", m.name)
			}
			types[name] = edm
		}
	}
	var d draft
	for _, m := range members {
		switch {
		case strings.HasPrefix(m.name, "odata."),
			strings.Contains(m.name, "@odata."),
			m.name == "Timestamp",
			string(m.json) == "null":
			continue
		case m.name == "PartitionKey", m.name == "RowKey":
			v, refusal := readValue(m.name, m.json, types[m.name])
			if refusal != nil {
				return draft{}, refusal
			}
			if v.edm != edmString {
				return draft{}, invalidInput("The key '%s' is not a string.", m.name)
			}
			if refusal := checkKey(m.name, v.text); refusal != nil {
				return draft{}, refusal
			}
			if m.name == "PartitionKey" {
				d.partitionKey = &v.text
			} else {
				d.rowKey = &v.text
			}
		default:
			if refusal := checkPropertyName(m.name); refusal != nil {
				return draft{}, refusal
			}
			v, refusal := readValue(m.name, m.json, types[m.name])
			if refusal != nil {
				return draft{}, refusal
			}
			d.properties = append(d.properties, newProperty(m.name, v))
		}
	}
	return d, nil
}

type member struct {
	name string
	json json.RawMessage
}

func readObject(body []byte) ([]member, *serviceError) {
	if !utf8.Valid(body) {
		return nil, invalidInput("The body is not UTF-8.")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil, invalidInput("The body is not a JSON object.")
	}
	var members []member
	seen := map[string]bool{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, invalidInput("The body is not valid JSON.")
		}
		m := member{name: name.(string)}
		if err := dec.Decode(&m.json); err != nil {
			return nil, invalidInput("The body is not valid JSON.")
		}
		if seen[m.name] {
			return nil, &serviceError{
				http.StatusBadRequest,
				"DuplicatePropertiesSpecified",
				"A property is specified more than one time.",
			}
		}
		seen[m.name] = true
		members = append(members, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, invalidInput("The body is not valid JSON.")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, invalidInput("Something follows the JSON object.")
	}
	return members, nil
}

// readValue reads a property's value. Without an annotation a number is Edm.Int32 when it is written as an integer of
// that range, otherwise Edm.Double.
func readValue(name string, raw json.RawMessage, edm string) (value, *serviceError) {
	wrong := func() (value, *serviceError) {
		return value{}, invalidInput("The value of '%s' is not of the type %s.", name, edm)
	}
	var decoded any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&decoded); err != nil {
		return value{}, invalidInput("The body is not valid JSON.")
	}
	if edm == "" {
		switch v := decoded.(type) {
		case string:
			edm = edmString
		case bool:
			edm = edmBoolean
		case json.Number:
			edm = edmDouble
			if _, err := strconv.ParseInt(v.String(), 10, 32); err == nil {
				edm = edmInt32
			}
		default:
			return value{}, invalidInput("The value of '%s' is neither a string nor a number nor a boolean.", name)
		}
	}
	v := value{edm: edm}
	text, isText := decoded.(string)
	switch edm {
	case edmBoolean:
		b, ok := decoded.(bool)
		if !ok {
			return wrong()
		}
		if b {
			v.number = 1
		}
		return v, nil
	case edmInt32:
		n, ok := decoded.(json.Number)
		i, err := strconv.ParseInt(n.String(), 10, 32)
		if !ok || err != nil {
			return wrong()
		}
		v.number = i
		return v, nil
	case edmDouble:
		f, err := readDouble(decoded)
		if err != nil {
			return wrong()
		}
		v.double = f
		return v, nil
	case edmString, edmInt64, edmDateTime, edmGuid, edmBinary:
		if !isText {
			return wrong()
		}
	default:
		return value{}, invalidInput("'%s' has the unknown type '%s'.", name, edm)
	}

	var err error
	switch edm {
	case edmString:
		if utf16Len(text) > maxString {
			return value{}, errPropertyValueTooLarge
		}
		v.text = text
	case edmInt64:
		v.number, err = strconv.ParseInt(text, 10, 64)
	case edmDateTime:
		if v.number, err = parseDateTime(text); err == nil && (v.number < firstDateTime || v.number > lastDateTime) {
			return value{}, outOfRange(name, text)
		}
	case edmGuid:
		if !guidPattern.MatchString(text) {
			return wrong()
		}
		v.text = strings.ToLower(text)
	case edmBinary:
		var b []byte
		if b, err = base64.StdEncoding.DecodeString(text); len(b) > maxBinary {
			return value{}, errPropertyValueTooLarge
		}
		v.text = string(b)
	}
	if err != nil {
		return wrong()
	}
	return v, nil
}

func readDouble(decoded any) (float64, error) {
	switch v := decoded.(type) {
	case json.Number:
		return v.Float64()
	case string:
		switch v {
		case "NaN", "Infinity", "-Infinity":
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, strconv.ErrSyntax
}

// parseDateTime reads a time in ticks since 1970; what is finer than a tick is cut off.
func parseDateTime(s string) (int64, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, err
	}
	return ticks(t.UTC()), nil
}

func newProperty(name string, v value) property {
	p := property{name: name, value: v}
	var text string
	switch v.edm {
	case edmString, edmGuid:
		text = quote(v.text)
	case edmInt32:
		text = strconv.FormatInt(v.number, 10)
	case edmInt64:
		text = quote(strconv.FormatInt(v.number, 10))
	case edmBoolean:
		text = strconv.FormatBool(v.number == 1)
	case edmDateTime:
		text = quote(formatTicks(v.number))
	case edmBinary:
		text = quote(base64.StdEncoding.EncodeToString([]byte(v.text)))
	case edmDouble:
		text = formatDouble(v.double)
	}
	edm := v.edm
	isWord := edm == edmDouble && text[0] == '"'
	if edm == edmInt64 || edm == edmDateTime || edm == edmGuid || edm == edmBinary || isWord {
		p.typeJSON = quote(name+"@odata.type") + `:"` + edm + `",`
	}
	p.json = quote(name) + ":" + text
	return p
}

// formatDouble writes a double so that a reader sees it is one: 1 becomes 1.0.
func formatDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return `"NaN"`
	case math.IsInf(f, 1):
		return `"Infinity"`
	case math.IsInf(f, -1):
		return `"-Infinity"`
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}

// checkStored checks the limits that concern an entity as a whole.
func checkStored(partitionKey, rowKey string, properties []property) *serviceError {
	if len(properties) > maxProperties {
		return errTooManyProperties
	}
	if entitySize(partitionKey, rowKey, properties) > maxEntity {
		return errEntityTooLarge
	}
	return nil
}

// entitySize counts as Azure does (Azure Storage team blog, "Understanding Windows Azure
// Storage Billing"): 4 bytes, the keys, and for each property 8 bytes, its name and its
// value.
func entitySize(partitionKey, rowKey string, properties []property) int {
	size := 4 + 2*utf16Len(partitionKey) + 2*utf16Len(rowKey)
	for _, p := range properties {
		size += 8 + 2*utf16Len(p.name)
		switch p.value.edm {
		case edmString:
			size += 4 + 2*utf16Len(p.value.text)
		case edmBinary:
			size += 4 + len(p.value.text)
		case edmGuid:
			size += 16
		case edmInt32:
			size += 4
		case edmBoolean:
			size++
		default:
			size += 8
		}
	}
	return size
}

func checkKey(name, key string) *serviceError {
	for _, r := range key {
		if strings.ContainsRune(`/\#?`, r) || r < 0x20 || r >= 0x7F && r <= 0x9F {
			return outOfRange(name, key)
		}
	}
	if utf16Len(key) > maxKey {
		return errPropertyValueTooLarge
	}
	return nil
}

// checkPropertyName wants a C# identifier (C# language specification, "Identifiers"), which has no dash.
func checkPropertyName(name string) *serviceError {
	if utf16Len(name) > maxName {
		return &serviceError{
			http.StatusBadRequest,
			"PropertyNameTooLong",
			"The property name exceeds the maximum allowed length (255).",
		}
	}
	for i, r := range name {
		if !isIdentifierRune(r, i == 0) {
			return errPropertyNameInvalid
		}
	}
	if name == "" {
		return errPropertyNameInvalid
	}
	return nil
}

func isIdentifierRune(r rune, first bool) bool {
	if r == '_' || unicode.In(r, unicode.L, unicode.Nl) {
		return true
	}
	return !first && unicode.In(r, unicode.Nd, unicode.Pc, unicode.Mn, unicode.Mc, unicode.Cf)
}

func utf16Len(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	return n
}

// compareKeys orders strings by their UTF-16 code units, as the service does. It is the order of their UTF-8 bytes
// except that characters beyond U+FFFF, whose surrogates begin at U+D800, come before U+E000.
func compareKeys(a, b string) int {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x >= 0xEE && y >= 0xEE && (x >= 0xF0) != (y >= 0xF0) {
			x, y = y, x
		}
		if x < y {
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

// compareValues orders values of one type; ok is false for values of different types and for NaN.
func compareValues(a, b value) (order int, ok bool) {
	if a.edm != b.edm {
		return 0, false
	}
	switch a.edm {
	case edmString:
		return compareKeys(a.text, b.text), true
	case edmGuid, edmBinary:
		return strings.Compare(a.text, b.text), true
	case edmDouble:
		switch {
		case a.double < b.double:
			return -1, true
		case a.double > b.double:
			return 1, true
		}
		return 0, a.double == b.double
	}
	switch {
	case a.number < b.number:
		return -1, true
	case a.number > b.number:
		return 1, true
	}
	return 0, true
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// metadata is OData's level of control information in an answer.
type metadata int

const (
	noMetadata metadata = iota
	minimalMetadata
	fullMetadata
)

func (m metadata) contentType() string {
	level := [...]string{"nometadata", "minimalmetadata", "fullmetadata"}[m]
	return "application/json;odata=" + level + ";streaming=true;charset=utf-8"
}

// metadataFor is the level that $format or, without it, the Accept header asks for.
func metadataFor(header http.Header, query url.Values) metadata {
	accept := query.Get("$format")
	if accept == "" {
		accept = header.Get("Accept")
	}
	switch {
	case strings.Contains(accept, "odata=nometadata"):
		return noMetadata
	case strings.Contains(accept, "odata=fullmetadata"):
		return fullMetadata
	}
	return minimalMetadata
}

// appendJSON appends the members of the entity, without the braces. selected is nil for all properties; one that the
// entity lacks is null.
func (e *entity) appendJSON(to []byte, level metadata, selected []string, base, table string) []byte {
	if level == fullMetadata {
		link := entityLink(table, e.partitionKey, e.rowKey)
		to = fmt.Appendf(to, `"odata.type":%s,"odata.id":%s,`, quote(AccountName+"."+table), quote(base+"/"+link))
		to = append(to, e.etagJSON...)
		to = fmt.Appendf(to, `"odata.editLink":%s,`, quote(link))
	} else if level == minimalMetadata {
		to = append(to, e.etagJSON...)
	}
	if selected == nil {
		for i := range systemNames {
			to = e.appendSystem(to, i, level)
		}
		for i := range e.properties {
			to = e.properties[i].appendJSON(to, level)
		}
	}
	for _, name := range selected {
		to = e.appendSelected(to, name, level)
	}
	return bytes.TrimSuffix(to, []byte(","))
}

func (e *entity) appendSelected(to []byte, name string, level metadata) []byte {
	if i := slices.Index(systemNames[:], name); i >= 0 {
		return e.appendSystem(to, i, level)
	}
	for i := range e.properties {
		if e.properties[i].name == name {
			return e.properties[i].appendJSON(to, level)
		}
	}
	return fmt.Appendf(to, `%s:null,`, quote(name))
}

func (e *entity) appendSystem(to []byte, i int, level metadata) []byte {
	if systemNames[i] == "Timestamp" && level == fullMetadata {
		to = append(to, `"Timestamp@odata.type":"Edm.DateTime",`...)
	}
	return append(to, e.systemJSON[i]...)
}

func (p *property) appendJSON(to []byte, level metadata) []byte {
	if level != noMetadata {
		to = append(to, p.typeJSON...)
	}
	to = append(to, p.json...)
	return append(to, ',')
}

// entityLink addresses an entity in OData's way, relative to the account.
func entityLink(table, partitionKey, rowKey string) string {
	escape := func(key string) string { return url.PathEscape(strings.ReplaceAll(key, "'", "''")) }
	return table + "(PartitionKey='" + escape(partitionKey) + "',RowKey='" + escape(rowKey) + "')"
}
