package server

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"itemsapi/handler/items"
)

// This file has what changes several items at once, and what creates items under IDs
// that clients made.

const (
	maxItems   = 50 // of a batch that creates
	maxChanges = 40 // of a batch of any kind, as many as a transaction takes at worst
)

// batch makes several changes, all or none.
func (s *server) batch(c *call) (*answer, error) {
	key, members, sum, err := c.creation(maxBatchBody)
	if err != nil {
		return nil, err
	}
	read := reading{now: time.Now()}
	b := read.batch(members)
	if err := read.err(); err != nil {
		return nil, err
	}
	for i := range b.ops {
		b.ops[i].Request = [16]byte(sum[:])
	}
	made, replayed, err := s.Store.Apply(c.Context(), c.owner(), b.ops, key)
	var failed *items.OpsError
	if errors.As(err, &failed) {
		return nil, s.batchProblem(c, b, failed)
	}
	if err != nil {
		return nil, err
	}
	value := make([]appender, len(made))
	minimal := prefersMinimal(c.Header)
	for i, change := range made {
		value[i] = change
		// What a change made of an item is not remembered for its key, but by which tag.
		if change.Gone == nil && (minimal || replayed && b.kinds != nil) {
			value[i] = saved{change.ID, change.ETag}
		}
	}
	status := http.StatusOK
	if b.kinds == nil {
		status = http.StatusCreated
	}
	a, err := collectionAnswer(value, struct{}{}, "")
	if err != nil {
		return nil, err
	}
	a.status = status
	if minimal {
		a.header.Set("Preference-Applied", "return=minimal")
	}
	if replayed {
		a.header.Set("Idempotency-Replayed", "true")
	}
	return a, nil
}

// batchProblem is about the first change that failed, and names all that did.
func (s *server) batchProblem(c *call, b batch, failed *items.OpsError) *problem {
	var first *problem
	for _, f := range failed.Failed {
		p := s.problemOf(c, f.Err)
		if first == nil {
			detail := fmt.Sprintf("Nothing was changed. Of the first that failed, number %d: %s", f.Index, p.Detail)
			first = &problem{Code: p.Code, Detail: detail}
		}
		pointer := fmt.Sprintf("/changes/%d", f.Index)
		faults, _ := p.More["errors"].([]fault)
		if faults == nil {
			first.Errors = append(first.Errors, fault{pointer, p.Code, p.Detail})
		}
		for _, e := range faults {
			first.Errors = append(first.Errors, fault{pointer + b.content(f.Index) + e.Pointer, p.Code, e.Detail})
		}
	}
	return first
}

// batch is what the body of a batch asks for.
type batch struct {
	ops []items.Op
	// kinds are the names of the changes. They are nil where items are created by the
	// older form, {"items":[…]}.
	kinds []string
}

// content points from a change to where its content is.
func (b batch) content(i int) string {
	if b.kinds[i] == "patch" {
		return "/patch/merge"
	}
	return "/" + b.kinds[i]
}

// reading collects what is wrong while a body is read.
type reading struct {
	now      time.Time
	problems []items.Problem
	other    error
}

func (r *reading) report(pointer, detail string) {
	r.problems = append(r.problems, items.Problem{Pointer: pointer, Detail: detail})
}

// note takes an error of package items about what is at the pointer.
func (r *reading) note(pointer string, err error) {
	if wrong, ok := errors.AsType[*items.InvalidError](err); ok {
		for _, p := range wrong.Problems {
			r.report(pointer+p.Pointer, p.Detail)
		}
	} else if err != nil {
		r.other = err
	}
}

func (r *reading) err() error {
	switch {
	case r.other != nil:
		return r.other
	case r.problems != nil:
		return &items.InvalidError{Problems: r.problems}
	}
	return nil
}

// batch reads {"items":[…]} or {"changes":[…]}.
func (r *reading) batch(members map[string]jsontext.Value) (b batch) {
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if name != "items" && name != "changes" {
			r.report(items.Pointer(name), "unknown member; a batch has items or changes")
		}
	}
	_, creates := members["items"]
	_, changes := members["changes"]
	switch {
	case creates && changes:
		r.report("/changes", "a batch has items or changes, not both")
	case changes:
		each := r.array("/changes", members["changes"], maxChanges, "changes")
		b.kinds = make([]string, len(each))
		b.ops = make([]items.Op, len(each))
		places := map[string]int{}
		for i, raw := range each {
			pointer := fmt.Sprintf("/changes/%d", i)
			b.kinds[i], b.ops[i] = r.change(pointer, raw)
			id := b.ops[i].ID
			if before, twice := places[id]; twice && id != "" {
				r.report(
					pointer+"/"+b.kinds[i]+"/id",
					fmt.Sprintf("is in /changes/%d already; make one change of the two", before),
				)
			} else {
				places[id] = i
			}
		}
	default:
		each := r.array("/items", members["items"], maxItems, "items")
		b.ops = make([]items.Op, len(each))
		for i, raw := range each {
			pointer := fmt.Sprintf("/items/%d", i)
			if one := r.object(pointer, raw); one != nil {
				draft, err := items.Read(one)
				r.note(pointer, err)
				b.ops[i].Create = &draft
			}
		}
	}
	return b
}

// change reads {"create":{…}}, {"replace":{…}}, {"patch":{…}} or {"delete":{…}}.
func (r *reading) change(pointer string, raw jsontext.Value) (kind string, op items.Op) {
	one := r.object(pointer, raw)
	if one == nil {
		return "", op
	}
	names := slices.Sorted(maps.Keys(one))
	if len(names) != 1 || !slices.Contains([]string{"create", "replace", "patch", "delete"}, names[0]) {
		r.report(pointer, "must have one member: create, replace, patch or delete")
		return "", op
	}
	kind = names[0]
	pointer += "/" + kind
	members := r.object(pointer, one[kind])
	if members == nil {
		return kind, op
	}
	id, hasID := members["id"]
	delete(members, "id")
	if hasID {
		op.ID = r.text(pointer+"/id", id)
	} else if kind != "create" {
		r.report(pointer+"/id", "required: the item's id")
	}
	if kind == "create" {
		if hasID && op.ID != "" {
			if detail := items.CheckID(op.ID, r.now); detail != "" {
				r.report(pointer+"/id", detail)
			}
		}
		draft, err := items.Read(members)
		r.note(pointer, err)
		op.Create = &draft
		return kind, op
	}
	op.Match = r.match(pointer+"/etag", members["etag"])
	delete(members, "etag")
	switch kind {
	case "replace":
		edit, err := items.Replace(members)
		r.note(pointer, err)
		op.Edit = &edit
	case "patch":
		if merge := r.only(pointer, members, "merge"); merge != nil {
			edit, err := items.Patch(merge)
			r.note(pointer+"/merge", err)
			op.Edit = &edit
		}
	case "delete":
		r.only(pointer, members, "")
		op.Delete = true
	}
	return kind, op
}

// only reports members besides that one, and returns it, an object.
func (r *reading) only(pointer string, members map[string]jsontext.Value, name string) map[string]jsontext.Value {
	for _, other := range slices.Sorted(maps.Keys(members)) {
		if other != name {
			r.report(pointer+items.Pointer(other), "unknown member")
		}
	}
	if name == "" {
		return nil
	}
	return r.object(pointer+"/"+name, members[name])
}

func (r *reading) array(pointer string, raw jsontext.Value, most int, of string) (each []jsontext.Value) {
	if raw == nil || raw[0] != '[' {
		r.report(pointer, fmt.Sprintf("required: an array of 1 to %d %s", most, of))
		return nil
	}
	r.decode(raw, &each)
	if len(each) == 0 || len(each) > most {
		r.report(pointer, fmt.Sprintf("has %d %s; 1 to %d are possible at once", len(each), of, most))
		return nil
	}
	return each
}

func (r *reading) object(pointer string, raw jsontext.Value) (members map[string]jsontext.Value) {
	if raw == nil || raw[0] != '{' {
		r.report(pointer, "must be an object")
		return nil
	}
	r.decode(raw, &members)
	return members
}

// text reads a string that is not empty.
func (r *reading) text(pointer string, raw jsontext.Value) (text string) {
	if raw[0] != '"' || len(raw) == len(`""`) {
		r.report(pointer, "must be a string that is not empty")
		return ""
	}
	r.decode(raw, &text)
	return text
}

// match reads etag, which is to a change what If-Match is to a request.
func (r *reading) match(pointer string, raw jsontext.Value) items.Match {
	const wanted = "the item's etag as it was read, quotes included, or * if its version does not matter"
	if raw == nil {
		r.report(pointer, "required: "+wanted)
		return items.Match{}
	}
	tag := r.text(pointer, raw)
	switch {
	case tag == "*":
		return items.Match{Any: true}
	case tag != "" && (len(tag) < 2 || tag[0] != '"' || strings.IndexByte(tag[1:], '"') != len(tag)-2):
		r.report(pointer, "must be "+wanted)
	}
	return items.Match{Tags: []string{tag}}
}

// decode reads JSON that is known to be valid and of the right type.
func (r *reading) decode(raw jsontext.Value, into any) {
	if err := jsonv2.Unmarshal(raw, into); err != nil {
		r.other = fmt.Errorf("read a part of the body: %w", err)
	}
}

// createAs keeps a new item under the client's own ID.
func (s *server) createAs(c *call) (*answer, error) {
	if err := c.parameters(); err != nil {
		return nil, err
	}
	members, sum, err := c.object(maxBody, "application/json")
	if err != nil {
		return nil, err
	}
	var read reading
	if detail := items.CheckID(c.id, time.Now()); detail != "" {
		read.report("/id", detail)
	}
	if raw, ok := members["id"]; ok {
		if id := read.text("/id", raw); id != "" && id != c.id {
			read.report("/id", "is another one in the path, "+strconv.Quote(c.id))
		}
		delete(members, "id")
	}
	draft, err := items.Read(members)
	read.note("", err)
	if err := read.err(); err != nil {
		return nil, err
	}
	op := items.Op{ID: c.id, Create: &draft, Request: [16]byte(sum[:])}
	made, _, err := s.Store.Apply(c.Context(), c.owner(), []items.Op{op}, nil)
	if err != nil {
		return nil, err
	}
	a := c.itemAnswer(http.StatusCreated, made[0].Item)
	a.header.Set("Location", s.path()+"/"+c.id)
	return a, nil
}

// confirmation is what erasing takes, besides the right to.
const confirmation = `"erase everything"`

// erase removes what is kept of the caller, for as long as one call may take.
func (s *server) erase(c *call) (*answer, error) {
	if err := c.parameters(); err != nil {
		return nil, err
	}
	members, _, err := c.object(maxBody, "application/json")
	if err != nil {
		return nil, err
	}
	var read reading
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if name != "confirm" {
			read.report(items.Pointer(name), "unknown member; there is confirm")
		}
	}
	if string(members["confirm"]) != confirmation {
		read.report("/confirm", "must be "+confirmation)
	}
	if err := read.err(); err != nil {
		return nil, err
	}
	var body struct {
		Erased int64 `json:"erased"`
		More   bool  `json:"more"`
	}
	if body.Erased, body.More, err = s.Store.Erase(c.Context(), c.owner()); err != nil {
		return nil, err
	}
	b, err := jsonv2.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return jsonAnswer(http.StatusOK, b, ""), nil
}
