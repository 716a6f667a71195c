package tablestest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The operations that [Operation] names, as Microsoft's "Operations on tables" and "Operations on entities" do.
const (
	OpCreateTable           = "CreateTable"
	OpQueryTables           = "QueryTables"
	OpDeleteTable           = "DeleteTable"
	OpInsertEntity          = "InsertEntity"
	OpGetEntity             = "GetEntity"
	OpQueryEntities         = "QueryEntities"
	OpUpdateEntity          = "UpdateEntity" // PUT with If-Match: replaces
	OpMergeEntity           = "MergeEntity"  // MERGE or PATCH with If-Match
	OpInsertOrReplaceEntity = "InsertOrReplaceEntity"
	OpInsertOrMergeEntity   = "InsertOrMergeEntity"
	OpDeleteEntity          = "DeleteEntity"
	OpTransaction           = "Transaction" // an entity group transaction, POST to $batch
)

const (
	maxPage     = 1000
	maxSelected = 255
)

var (
	tableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)
	etagForm  = regexp.MustCompile(`^W/"datetime'[0-9A-Za-z.%:-]+'"$`)
)

// Operation names what a request asks for with one of the Op constants, "" if the server has no such operation. It
// serves [Fault.Match] too.
func Operation(r *http.Request) string {
	t, ok := parsePath(r.URL.Path)
	if !ok {
		return ""
	}
	return operation(r.Method, r.Header, t)
}

func operation(method string, header http.Header, t target) string {
	if tunnelled := header.Get("X-HTTP-Method"); method == http.MethodPost && tunnelled != "" {
		method = tunnelled
	}
	conditional := header.Get("If-Match") != ""
	switch t.kind {
	case tablesTarget:
		switch method {
		case http.MethodPost:
			return OpCreateTable
		case http.MethodGet:
			return OpQueryTables
		}
	case tableTarget:
		if method == http.MethodDelete {
			return OpDeleteTable
		}
	case batchTarget:
		if method == http.MethodPost {
			return OpTransaction
		}
	case entitiesTarget:
		switch method {
		case http.MethodPost:
			return OpInsertEntity
		case http.MethodGet:
			return OpQueryEntities
		}
	case entityTarget:
		switch method {
		case http.MethodGet:
			return OpGetEntity
		case http.MethodDelete:
			return OpDeleteEntity
		case http.MethodPut:
			if conditional {
				return OpUpdateEntity
			}
			return OpInsertOrReplaceEntity
		case http.MethodPatch, "MERGE":
			if conditional {
				return OpMergeEntity
			}
			return OpInsertOrMergeEntity
		}
	}
	return ""
}

type targetKind int

const (
	serviceTarget  targetKind = iota // the account itself
	tablesTarget                     // /Tables
	tableTarget                      // /Tables('name')
	entitiesTarget                   // /name or /name()
	entityTarget                     // /name(PartitionKey='…',RowKey='…')
	batchTarget                      // /$batch
)

type target struct {
	kind                        targetKind
	table, partitionKey, rowKey string
}

// parsePath reads a decoded path.
func parsePath(path string) (target, bool) {
	rest, ok := strings.CutPrefix(path, "/"+AccountName)
	if !ok || rest != "" && rest[0] != '/' {
		return target{}, false
	}
	rest = strings.TrimPrefix(rest, "/")
	name, arguments, hasArguments := strings.Cut(rest, "(")
	switch {
	case rest == "":
		return target{kind: serviceTarget}, true
	case rest == "$batch":
		return target{kind: batchTarget}, true
	case rest == "Tables", rest == "Tables()":
		return target{kind: tablesTarget}, true
	case name == "Tables":
		table, after, ok := cutQuoted(arguments)
		return target{kind: tableTarget, table: table}, ok && after == ")"
	case !hasArguments || arguments == ")":
		return target{kind: entitiesTarget, table: rest[:len(name)]}, true
	}
	t := target{kind: entityTarget, table: name}
	if rest, ok = strings.CutPrefix(arguments, "PartitionKey="); !ok {
		return target{}, false
	}
	if t.partitionKey, rest, ok = cutQuoted(rest); !ok {
		return target{}, false
	}
	if rest, ok = strings.CutPrefix(rest, ",RowKey="); !ok {
		return target{}, false
	}
	t.rowKey, rest, ok = cutQuoted(rest)
	return t, ok && rest == ")"
}

// call is one request, or one part of a transaction, ready to be executed.
type call struct {
	op     string
	target target
	header http.Header
	query  url.Values
	body   []byte
	base   string // the account's URL as the client names it

	requestID            string
	emptyPages, pageSize int // from a fault
}

// newCall checks what is the same for every request.
func (s *Server) newCall(r *http.Request, body []byte) (*call, *serviceError) {
	if refusal := s.authenticate(r); refusal != nil {
		return nil, refusal
	}
	if len(body) > maxBody {
		return nil, errBodyTooLarge
	}
	t, ok := parsePath(r.URL.Path)
	if !ok {
		return nil, invalidInput("Bad Request - Error in query syntax.")
	}
	base := s.scheme + "://" + r.Host + "/" + AccountName
	return newCall(r.Method, t, r.URL.RawQuery, r.Header, body, base)
}

func newCall(
	method string,
	t target,
	rawQuery string,
	header http.Header,
	body []byte,
	base string,
) (*call, *serviceError) {
	c := &call{target: t, header: header, body: body, base: base}
	query, refusal := parseQuery(rawQuery)
	if refusal != nil {
		return nil, refusal
	}
	c.query = query
	c.op = operation(method, header, t)
	switch {
	case c.op == "" && t.kind == serviceTarget:
		return nil, errNotImplemented
	case c.op == "":
		return nil, errMethodNotAllowed
	}
	if t.kind != tablesTarget && t.kind != batchTarget {
		if refusal := checkTableName(t.table); refusal != nil {
			return nil, refusal
		}
	}
	return c, checkFormats(c.op, header)
}

// parseQuery refuses the options of OData that the Table service does not have. A name without $ means nothing to it.
func parseQuery(raw string) (url.Values, *serviceError) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalidInput("The query string is malformed.")
	}
	for name, values := range query {
		switch name {
		case "$filter", "$top", "$select", "$format", "NextPartitionKey", "NextRowKey", "NextTableName":
			if len(values) > 1 {
				return nil, invalidInput("The query option '%s' is given more than once.", name)
			}
		case "timeout":
			if n, err := strconv.Atoi(values[0]); err != nil || n < 1 {
				return nil, invalidInput("The timeout is not a number of seconds.")
			}
		case "$orderby", "$skip", "$skiptoken", "$expand", "$inlinecount", "$count", "$search", "comp", "restype":
			return nil, errNotImplemented
		default:
			if strings.HasPrefix(name, "$") {
				return nil, invalidInput(
					"The query parameter '%.100s' begins with a system-reserved '$' character but is not recognized.",
					name,
				)
			}
		}
	}
	return query, nil
}

// checkFormats wants JSON: Atom is gone since version 2015-12-11.
func checkFormats(op string, header http.Header) *serviceError {
	if accept := header.Get("Accept"); accept != "" && op != OpTransaction &&
		!strings.Contains(accept, "application/json") &&
		!strings.Contains(accept, "*/*") {
		return errFormatNotSupported
	}
	switch op {
	case OpCreateTable, OpInsertEntity, OpUpdateEntity, OpMergeEntity, OpInsertOrReplaceEntity, OpInsertOrMergeEntity:
		if mediaType, _, err := mime.ParseMediaType(header.Get("Content-Type")); err != nil ||
			mediaType != "application/json" {
			return errFormatNotSupported
		}
	}
	return nil
}

func checkTableName(name string) *serviceError {
	if !tableName.MatchString(name) || strings.EqualFold(name, "tables") {
		return &serviceError{
			http.StatusBadRequest,
			"InvalidResourceName",
			"The specified resource name contains invalid characters.",
		}
	}
	if len(name) < 3 || len(name) > 63 {
		return &serviceError{
			http.StatusBadRequest,
			"OutOfRangeInput",
			"The specified resource name length is not within the permissible limits.",
		}
	}
	return nil
}

func (s *Server) execute(c *call) (*answer, *serviceError) {
	switch c.op {
	case OpCreateTable:
		return s.createTable(c)
	case OpQueryTables:
		return s.queryTables(c)
	case OpDeleteTable:
		return &answer{http.StatusNoContent, http.Header{}, nil}, s.store.drop(c.target.table)
	case OpGetEntity:
		return s.getEntity(c)
	case OpQueryEntities:
		return s.queryEntities(c)
	case OpTransaction:
		return s.transact(c)
	}
	ch, refusal := c.change()
	if refusal != nil {
		return nil, refusal
	}
	entities, _, refusal := s.store.commit(c.target.table, []change{ch}, s.now())
	if refusal != nil {
		return nil, refusal
	}
	return c.changed(entities[0]), nil
}

func (s *Server) createTable(c *call) (*answer, *serviceError) {
	members, refusal := readObject(c.body)
	if refusal != nil {
		return nil, refusal
	}
	var name string
	for _, m := range members {
		if m.name == "TableName" && json.Unmarshal(m.json, &name) != nil {
			return nil, invalidInput("The TableName is not a string.")
		}
	}
	if refusal := checkTableName(name); refusal != nil {
		return nil, refusal
	}
	if refusal := s.store.create(name); refusal != nil {
		return nil, refusal
	}
	a := c.echo()
	a.header.Set("Location", c.base+"/Tables('"+name+"')")
	if a.status == http.StatusCreated {
		a.body = fmt.Appendf(c.begin("Tables/@Element"), `"TableName":%s}`, quote(name))
	}
	return a, nil
}

// echo begins the answer to an insertion: with what was inserted, unless the client prefers nothing.
func (c *call) echo() *answer {
	a := &answer{status: http.StatusCreated, header: http.Header{}}
	switch prefer := c.header.Get("Prefer"); prefer {
	case "return-no-content":
		a.status = http.StatusNoContent
		a.header.Set("Preference-Applied", prefer)
		return a
	case "return-content":
		a.header.Set("Preference-Applied", prefer)
	}
	a.header.Set("Content-Type", c.level().contentType())
	return a
}

func (c *call) level() metadata { return metadataFor(c.header, c.query) }

// begin begins a JSON object with the metadata that point to fragment.
func (c *call) begin(fragment string) []byte {
	if c.level() == noMetadata {
		return []byte{'{'}
	}
	return fmt.Appendf(nil, `{"odata.metadata":%s,`, quote(c.base+"/$metadata#"+fragment))
}

// entityBody is a JSON object of one entity.
func (c *call) entityBody(e *entity, selected []string) []byte {
	body := c.begin(c.target.table + "/@Element" + c.selectFragment())
	return append(e.appendJSON(body, c.level(), selected, c.base, c.target.table), '}')
}

func (s *Server) queryTables(c *call) (*answer, *serviceError) {
	f, refusal := parseFilter(c.query.Get("$filter"))
	if refusal != nil {
		return nil, refusal
	}
	limit, refusal := c.limit()
	if refusal != nil {
		return nil, refusal
	}
	start, refusal := decodeContinuation(c.query, "NextTableName")
	if refusal != nil {
		return nil, refusal
	}
	a := &answer{status: http.StatusOK, header: http.Header{}}
	a.header.Set("Content-Type", c.level().contentType())
	a.body = append(c.begin("Tables"), `"value":[`...)
	n := 0
	for _, name := range s.store.names() {
		named := &entity{properties: []property{{name: "TableName", value: value{edm: edmString, text: name}}}}
		if strings.ToLower(name) < start || !f.matches(named) {
			continue
		}
		if n == limit {
			a.header.Set("x-ms-continuation-NextTableName", encodeContinuation(strings.ToLower(name), 0))
			break
		}
		if n++; n > 1 {
			a.body = append(a.body, ',')
		}
		a.body = fmt.Appendf(a.body, `{"TableName":%s}`, quote(name))
	}
	a.body = append(a.body, "]}"...)
	return a, nil
}

// limit is the number of entities a page may hold.
func (c *call) limit() (int, *serviceError) {
	limit := maxPage
	if c.query.Has("$top") {
		n, err := strconv.Atoi(c.query.Get("$top"))
		if err != nil || n < 1 || n > maxPage {
			return 0, invalidInput("One of the request inputs is not valid.")
		}
		limit = n
	}
	if c.pageSize > 0 {
		limit = min(limit, c.pageSize)
	}
	return limit, nil
}

// selected lists the properties that $select asks for, nil for all.
func (c *call) selected() ([]string, *serviceError) {
	raw := c.query.Get("$select")
	if raw == "" || raw == "*" {
		return nil, nil
	}
	names := strings.Split(raw, ",")
	if len(names) > maxSelected {
		return nil, invalidInput("More than %d properties are selected.", maxSelected)
	}
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
		if checkPropertyName(names[i]) != nil || slices.Contains(names[:i], names[i]) {
			return nil, invalidInput("The $select option is malformed.")
		}
	}
	return names, nil
}

func (c *call) selectFragment() string {
	if raw := c.query.Get("$select"); raw != "" {
		return "&$select=" + strings.ReplaceAll(raw, " ", "%20")
	}
	return ""
}

func (s *Server) getEntity(c *call) (*answer, *serviceError) {
	names, refusal := c.selected()
	if refusal != nil {
		return nil, refusal
	}
	if c.query.Has("$filter") || c.query.Has("$top") {
		return nil, errNotImplemented
	}
	e, refusal := s.store.get(c.target.table, c.target.partitionKey, c.target.rowKey)
	if refusal != nil {
		return nil, refusal
	}
	a := &answer{status: http.StatusOK, header: http.Header{}}
	a.header.Set("Content-Type", c.level().contentType())
	a.header.Set("ETag", e.etag)
	a.body = c.entityBody(e, names)
	return a, nil
}

func (s *Server) queryEntities(c *call) (*answer, *serviceError) {
	f, refusal := parseFilter(c.query.Get("$filter"))
	if refusal != nil {
		return nil, refusal
	}
	names, refusal := c.selected()
	if refusal != nil {
		return nil, refusal
	}
	limit, refusal := c.limit()
	if refusal != nil {
		return nil, refusal
	}
	var start position
	if start.partitionKey, refusal = decodeContinuation(c.query, "NextPartitionKey"); refusal != nil {
		return nil, refusal
	}
	if start.rowKey, refusal = decodeContinuation(c.query, "NextRowKey"); refusal != nil {
		return nil, refusal
	}
	empty := emptyPagesSeen(c.query)
	if empty < c.emptyPages && (empty > 0 || !c.query.Has("NextPartitionKey")) {
		empty, limit = empty+1, 0
	} else {
		empty = 0
	}
	entities, next, refusal := s.store.scan(c.target.table, f, start, limit)
	if refusal != nil {
		return nil, refusal
	}
	if empty > 0 && next == nil {
		next = &position{}
	}

	a := &answer{status: http.StatusOK, header: http.Header{}}
	a.header.Set("Content-Type", c.level().contentType())
	if next != nil {
		a.header.Set("x-ms-continuation-NextPartitionKey", encodeContinuation(next.partitionKey, empty))
		if next.hasRowKey {
			a.header.Set("x-ms-continuation-NextRowKey", encodeContinuation(next.rowKey, 0))
		}
	}
	level := c.level()
	body := append(c.begin(c.target.table+c.selectFragment()), `"value":[`...)
	for i, e := range entities {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(e.appendJSON(append(body, '{'), level, names, c.base, c.target.table), '}')
	}
	a.body = append(body, "]}"...)
	return a, nil
}

// continuationEncoding is base64 of which no character needs escaping in a URL.
var continuationEncoding = base64.NewEncoding(
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*_",
).WithPadding(
	'-',
).Strict()

// encodeContinuation writes a key in the form that Azure's have, "1!LENGTH!BASE64". Clients must not rely on it. Here
// the first number also counts the empty pages that a fault made so far.
func encodeContinuation(key string, emptyPages int) string {
	text := continuationEncoding.EncodeToString([]byte(key))
	return fmt.Sprintf("%d!%d!%s", 1+emptyPages, len(text), text)
}

// decodeContinuation reads the key that a parameter continues at, "" where there is none. Azure refuses a parameter
// that is there but empty.
func decodeContinuation(query url.Values, name string) (string, *serviceError) {
	if !query.Has(name) {
		return "", nil
	}
	malformed := invalidInput("One of the request inputs is not valid.")
	parts := strings.Split(query.Get(name), "!")
	if len(parts) != 3 || parts[1] != strconv.Itoa(len(parts[2])) {
		return "", malformed
	}
	key, err := continuationEncoding.DecodeString(parts[2])
	if err != nil || !utf8.Valid(key) {
		return "", malformed
	}
	return string(key), nil
}

func emptyPagesSeen(query url.Values) int {
	first, _, _ := strings.Cut(query.Get("NextPartitionKey"), "!")
	n, err := strconv.Atoi(first)
	if err != nil || n < 1 {
		return 0
	}
	return n - 1
}

// change is the write that the call asks for.
func (c *call) change() (change, *serviceError) {
	ch := change{
		op:           c.op,
		partitionKey: c.target.partitionKey,
		rowKey:       c.target.rowKey,
		ifMatch:      c.header.Get("If-Match"),
	}
	if ch.op == OpDeleteEntity && ch.ifMatch == "" {
		return ch, &serviceError{
			http.StatusBadRequest,
			"MissingRequiredHeader",
			"An HTTP header that's mandatory for this request is not specified. (If-Match)",
		}
	}
	if ch.ifMatch != "" && ch.ifMatch != "*" && !etagForm.MatchString(ch.ifMatch) {
		return ch, invalidInput(
			"The etag value '%.100s' specified in one of the request headers is not valid. Please make sure only "+
				"one etag value is specified and is valid.",
			ch.ifMatch,
		)
	}
	if c.header.Get("If-None-Match") != "" {
		return ch, invalidInput("If-None-Match HTTP header cannot be specified for this operation.")
	}
	if c.target.kind == entityTarget {
		if refusal := checkKey("PartitionKey", ch.partitionKey); refusal != nil {
			return ch, refusal
		}
		if refusal := checkKey("RowKey", ch.rowKey); refusal != nil {
			return ch, refusal
		}
	}
	if ch.op == OpDeleteEntity {
		return ch, nil
	}

	d, refusal := readEntity(c.body)
	if refusal != nil {
		return ch, refusal
	}
	ch.properties = d.properties
	if ch.op == OpInsertEntity {
		if d.partitionKey == nil || d.rowKey == nil {
			return ch, errPropertiesNeedValue
		}
		ch.partitionKey, ch.rowKey = *d.partitionKey, *d.rowKey
	} else if d.partitionKey != nil && *d.partitionKey != ch.partitionKey || d.rowKey != nil && *d.rowKey != ch.rowKey {
		return ch, invalidInput("The keys in the body are not those of the address.")
	}
	return ch, checkStored(ch.partitionKey, ch.rowKey, ch.properties)
}

// changed is the answer to a change that was stored.
func (c *call) changed(e *entity) *answer {
	if c.op != OpInsertEntity {
		a := &answer{status: http.StatusNoContent, header: http.Header{}}
		if e != nil {
			a.header.Set("ETag", e.etag)
		}
		return a
	}
	a := c.echo()
	location := c.base + "/" + entityLink(c.target.table, e.partitionKey, e.rowKey)
	a.header.Set("ETag", e.etag)
	a.header.Set("Location", location)
	if a.status == http.StatusNoContent {
		a.header.Set("DataServiceId", location)
	} else {
		a.body = c.entityBody(e, nil)
	}
	return a
}
