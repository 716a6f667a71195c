package main

// Random sequences of operations, on several handlers over one storage, with
// faults everywhere: requests and replies lost on both sides of the handler, a
// storage that is too busy, handlers killed. Clients repeat what was not answered,
// as docs/changes.md tells them to. At the end everything that a client was told must
// have happened, once, and nothing else; and anyone who followed the delta has what
// the list has.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/server"
	"itemsapi/handler/tables"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/waittest"
)

var (
	sequences = flag.Int("sequences", size(200, 1000), "random sequences on servers of one process")
	killed    = flag.Int("killed", size(8, 25), "random sequences on processes that are killed")
	seed      = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the random sequences")
)

// faults has storage fail for some of the requests.
func faults(storage *tablestest.Server) {
	some := func(percent int) func(*http.Request) bool {
		return func(r *http.Request) bool {
			return tablestest.Operation(r) != tablestest.OpCreateTable && rand.IntN(100) < percent
		}
	}
	storage.Inject(tablestest.Fault{DropReply: true, Match: some(3)})
	storage.Inject(tablestest.Fault{DropRequest: true, Match: some(2)})
	storage.Inject(tablestest.Fault{Status: 503, Code: "ServerBusy", Match: some(2)})
	storage.Inject(tablestest.Fault{Status: 500, Code: "OperationTimedOut", Match: some(1)})
}

func TestSequences(t *testing.T) {
	t.Logf("-seed %d", *seed)
	storage := startStorage(t)
	var urls []string
	for range 3 {
		store, err := tables.Open(tables.Config{ConnectionString: storage.ConnectionString(), Table: "items"})
		require.NoError(t, err)
		store.Prepare(t.Context())
		s := httptest.NewServer(server.New(server.Config{
			Verify: func(_ context.Context, c entra.Credentials, _ ...entra.Need) (*entra.Caller, error) {
				return &entra.Caller{Tenant: "tenant", Subject: c.Authorization[0]}, nil
			},
			Store: store, ReadScope: "read", WriteScope: "write", Realm: config.Realm, Collection: config.Collection,
			CallerConcurrency: 64,
		}))
		t.Cleanup(s.Close)
		urls = append(urls, s.URL)
	}
	faults(storage)
	var next atomic.Int64
	var wg sync.WaitGroup
	aside := waittest.Aside(t)
	for range 24 { // as many as an instance has room for pages, on three
		wg.Go(func() {
			for n := next.Add(1); n <= int64(*sequences) && !t.Failed(); n = next.Add(1) {
				url := func(i int) string { return urls[i%len(urls)] }
				sequence(aside, uint64(n), url, fmt.Sprint("one ", n), fmt.Sprint("two ", n), 6)
			}
		})
	}
	wg.Wait()
}

func TestSequencesWithKills(t *testing.T) {
	t.Logf("-seed %d", *seed)
	tenant := startTenant(t)
	alice, err := tenant.AccessToken(entratest.TokenRequest{})
	require.NoError(t, err)
	bob, err := tenant.AccessToken(entratest.TokenRequest{User: "bob"})
	require.NoError(t, err)
	for n := range *killed {
		storage := startStorage(t)
		start := func() *program { return startProgram(t, settings(tenant, storage.ConnectionString())) }
		programs := []*program{start(), start()}
		var mu sync.Mutex
		url := func(i int) string {
			mu.Lock()
			defer mu.Unlock()
			return programs[i%len(programs)].url
		}
		for i := range programs {
			require.Eventually(t, func() bool {
				status, _, _ := send(t, "GET", url(i)+"/api/items", alice, "")
				return status == 200
			}, 20*time.Second, 10*time.Millisecond)
		}
		faults(storage)
		done := make(chan struct{})
		aside := waittest.Aside(t)
		go func() {
			defer close(done)
			sequence(aside, uint64(1_000_000+n), url, alice, bob, 10)
		}()
		kills := 0
		for running := true; running; kills++ {
			select {
			case <-done:
				running = false
			case <-time.After(time.Duration(20+rand.IntN(100)) * time.Millisecond):
				require.NoError(t, programs[kills%2].cmd.Process.Kill())
				fresh := start()
				mu.Lock()
				programs[kills%2] = fresh
				mu.Unlock()
			}
		}
		require.Positive(t, kills)
		if t.Failed() {
			return
		}
	}
}

// sequence has two devices of one caller and one of another do steps operations
// each, at the same time, and checks what is left.
func sequence(t testing.TB, n uint64, url func(int) string, one, two string, steps int) {
	first, second := &history{}, &history{}
	devices := []*device{{token: one, history: first}, {token: one, history: first}, {token: two, history: second, alone: true}}
	var wg sync.WaitGroup
	for i, d := range devices {
		d.t, d.url, d.name = waittest.Aside(t), url, fmt.Sprintf("%d-%d", n, i)
		d.rng = rand.New(rand.NewPCG(*seed, n*10+uint64(i)))
		d.known, d.copy = map[string]version{}, map[string]version{}
		d.client = &http.Client{Transport: lossy{d.rng}}
		wg.Go(func() {
			for range steps {
				if t.Failed() {
					return
				}
				d.step()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, caller := range [][]*device{devices[:2], devices[2:]} {
		there := caller[0].list()
		require.Equal(t, len(there), caller[0].count(), "%s", caller[0].name)
		caller[0].history.check(t, caller[0].name, there)
		for _, d := range caller {
			d.sync()
			require.Equal(t, there, d.copy, "%s: the delta's copy", d.name)
		}
	}
}

// lossy loses requests and replies.
type lossy struct{ rng *rand.Rand }

var errLost = errors.New("lost")

func (l lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	switch l.rng.IntN(25) {
	case 0:
		return nil, errLost
	case 1:
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		return nil, errLost
	}
	return http.DefaultTransport.RoundTrip(r)
}

// device is a client that remembers what it was told.
type device struct {
	t       testing.TB
	rng     *rand.Rand
	client  *http.Client
	url     func(int) string
	token   string
	name    string
	alone   bool // the caller has no other device
	erased  bool
	history *history
	made    int

	known map[string]version // as it was last told
	copy  map[string]version // by the delta
	link  string
}

// ask sends a request until it has an answer. repeated says that one that was sent
// before may have been carried out.
func (d *device) ask(method, path, body string, headers ...string) (status int, answer string, repeated bool) {
	for range 200 {
		req, err := http.NewRequestWithContext(d.t.Context(), method, d.url(d.rng.IntN(1000))+path, bytes.NewReader([]byte(body)))
		require.NoError(d.t, err)
		req.Header.Set("Authorization", "Bearer "+d.token)
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := d.client.Do(req)
		if err != nil {
			repeated = true
			time.Sleep(time.Millisecond) // a killed handler is not back at once
			continue
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode >= 500 {
			repeated = true
			continue
		}
		if resp.StatusCode == http.StatusTooManyRequests { // and nothing was done
			time.Sleep(time.Millisecond)
			continue
		}
		return resp.StatusCode, string(b), repeated
	}
	require.Fail(d.t, "no answer", "%s %s", method, path)
	return 0, "", false
}

func (d *device) content() (string, string) {
	d.made++
	name := fmt.Sprintf("%s-%d", d.name, d.made)
	return name, itemstest.Variant(d.made, name)
}

// pick chooses an item that the device was told of.
func (d *device) pick() (version, bool) {
	if len(d.known) == 0 {
		return version{}, false
	}
	ids := slices.Sorted(maps.Keys(d.known))
	return d.known[ids[d.rng.IntN(len(ids))]], true
}

func (d *device) step() {
	item, ok := d.pick()
	match := item.ETag
	if d.alone && d.rng.IntN(4) == 0 {
		match = "*"
	}
	op := d.rng.IntN(15)
	if !ok && op > 2 && op < 8 {
		op = 0
	}
	path := "/api/items/" + item.ID
	switch op {
	case 0, 1:
		name, body := d.content()
		status, answer, _ := d.ask("POST", "/api/items", body, "Idempotency-Key", name)
		require.Equal(d.t, 201, status, answer)
		d.learn(d.history.created(d.read(answer)))
	case 2:
		var each []string
		key := ""
		for range 1 + d.rng.IntN(5) {
			name, body := d.content()
			each, key = append(each, body), name
		}
		status, answer, _ := d.ask("POST", "/api/items/batch", `{"items":[`+strings.Join(each, ",")+`]}`, "Idempotency-Key", key)
		require.Equal(d.t, 201, status, answer)
		var batch struct{ Value []version }
		require.NoError(d.t, json.Unmarshal([]byte(answer), &batch))
		require.Len(d.t, batch.Value, len(each))
		for _, made := range batch.Value {
			d.learn(d.history.created(made))
		}
	case 3, 4, 5:
		method, body := "PUT", ""
		_, body = d.content()
		if op == 5 {
			method, body = "PATCH", itemstest.PatchText(fmt.Sprint(d.name, " patched ", d.made))
		}
		status, answer, repeated := d.ask(method, path, body, "If-Match", match)
		switch status {
		case 200:
			d.learn(d.history.changed(item.ETag, match, d.read(answer), repeated))
		case 412, 404:
			require.NotEqual(d.t, "*", match, answer)
			if repeated {
				d.history.maybe(item.ID, item.ETag)
			}
			d.refresh(item.ID)
		default:
			require.Fail(d.t, "unexpected", "%s %d %s", method, status, answer)
		}
	case 6:
		status, answer, _ := d.ask("DELETE", path, "", "If-Match", match)
		switch status {
		case 200:
			var gone version
			require.NoError(d.t, json.Unmarshal([]byte(answer), &gone))
			require.True(d.t, gone.Deleted)
			d.history.deleted(d.t, item.ID, item.ETag, gone)
			delete(d.known, item.ID)
		case 412, 404:
			require.False(d.t, d.alone, answer)
			d.refresh(item.ID)
		default:
			require.Fail(d.t, "unexpected", "DELETE %d %s", status, answer)
		}
	case 7:
		d.refresh(item.ID)
	case 8:
		if there := d.list(); d.alone {
			require.Equal(d.t, d.known, there)
		} else {
			d.known = there
		}
	case 9:
		d.sync()
		if d.alone {
			require.Equal(d.t, d.known, d.copy)
		}
	case 10:
		d.createOwn()
	case 11, 12:
		d.changeSeveral()
	case 13:
		if n := d.count(); d.alone {
			require.Equal(d.t, len(d.known), n)
		}
	case 14:
		if d.alone && d.rng.IntN(2) == 0 {
			d.erase()
		}
	}
}

// createOwn creates an item under an ID of the device's own.
func (d *device) createOwn() {
	_, body := d.content()
	for {
		id := uuid.Must(uuid.NewV7()).String()
		status, answer, repeated := d.ask("PUT", "/api/items/"+id, body, "If-None-Match", "*")
		switch {
		case status == 201:
			d.learn(d.history.created(d.read(answer)))
			return
		case status == 410 && d.erased && !repeated:
			// An item that was erased had a newer ID, which the server made a moment ago.
			time.Sleep(time.Millisecond)
			continue
		}
		// It was made, and the other device has changed or deleted it since.
		require.True(d.t, (status == 412 || status == 410) && repeated && !d.alone, "PUT %d %s", status, answer)
		d.history.createdUnseen(id)
		d.refresh(id)
		return
	}
}

// changeSeveral makes a batch of changes of all kinds, which has a key.
func (d *device) changeSeveral() {
	key, body := d.content()
	each := []string{`{"create":` + body + `}`}
	was := []version{{}}
	known := slices.Sorted(maps.Keys(d.known))
	d.rng.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	for _, id := range known[:min(len(known), d.rng.IntN(4))] {
		item := d.known[id]
		match := item.ETag
		if d.alone && d.rng.IntN(4) == 0 {
			match = "*"
		}
		which := fmt.Sprintf(`"id":%q,"etag":%q`, id, match)
		_, body := d.content()
		each = append(each, []string{
			`{"replace":{` + which + `,` + body[1:] + `}`,
			`{"patch":{` + which + `,"merge":` + itemstest.PatchText(fmt.Sprint(d.name, " patched ", d.made)) + `}}`,
			`{"delete":{` + which + `}}`,
		}[d.rng.IntN(3)])
		was = append(was, item)
	}
	if d.rng.IntN(2) == 0 && !d.erased { // see createOwn
		_, body := d.content()
		each = append(each, fmt.Sprintf(`{"create":{"id":%q,%s}`, uuid.Must(uuid.NewV7()), body[1:]))
		was = append(was, version{})
	}
	status, answer, _ := d.ask("POST", "/api/items/batch", `{"changes":[`+strings.Join(each, ",")+`]}`, "Idempotency-Key", key)
	if status != 200 {
		// Nothing was changed, as another device was quicker, in all that is named.
		require.Contains(d.t, []int{412, 404}, status, answer)
		require.False(d.t, d.alone, answer)
		var problem struct {
			Errors []struct{ Pointer, Code string }
		}
		require.NoError(d.t, json.Unmarshal([]byte(answer), &problem))
		require.NotEmpty(d.t, problem.Errors)
		for _, e := range problem.Errors {
			var place int
			_, err := fmt.Sscanf(e.Pointer, "/changes/%d", &place)
			require.NoError(d.t, err)
			require.Contains(d.t, []string{"item.changed", "item.not_found"}, e.Code)
			require.NotEmpty(d.t, was[place].ID, answer)
			d.refresh(was[place].ID)
			require.NotEqual(d.t, was[place], d.known[was[place].ID], "it had changed")
		}
		return
	}
	var batch struct{ Value []version }
	require.NoError(d.t, json.Unmarshal([]byte(answer), &batch))
	require.Len(d.t, batch.Value, len(each))
	for i, made := range batch.Value {
		switch {
		case was[i].ID == "":
			d.history.created(made)
		case made.Deleted:
			d.history.deleted(d.t, made.ID, was[i].ETag, made)
			delete(d.known, made.ID)
			continue
		default:
			d.history.changed(was[i].ETag, "", made, false)
		}
		if d.learn(made); !made.whole() { // an answer that came again
			d.refresh(made.ID)
		}
	}
}

// whole reports whether a version has more than an ID and a tag.
func (v version) whole() bool { return strings.Contains(v.JSON, `"createdAt"`) }

func (d *device) count() int {
	status, answer, _ := d.ask("GET", "/api/items?count=true&limit=1", "")
	require.Equal(d.t, 200, status, answer)
	var page struct{ Count *int }
	require.NoError(d.t, json.Unmarshal([]byte(answer), &page))
	require.NotNil(d.t, page.Count, answer)
	return *page.Count
}

func (d *device) erase() {
	d.erased = true
	for more := true; more; {
		status, answer, _ := d.ask("POST", "/api/items/erase", `{"confirm":"erase everything"}`)
		require.Equal(d.t, 200, status, answer)
		var said struct{ More *bool }
		require.NoError(d.t, json.Unmarshal([]byte(answer), &said))
		require.NotNil(d.t, said.More, answer)
		more = *said.More
	}
	d.history.erased()
	d.known = map[string]version{}
}

func (d *device) read(answer string) (item version) {
	require.NoError(d.t, json.Unmarshal([]byte(answer), &item), answer)
	return item
}

func (d *device) learn(item version) { d.known[item.ID] = item }

func (d *device) refresh(id string) {
	status, answer, _ := d.ask("GET", "/api/items/"+id, "")
	if status == 200 {
		d.learn(d.read(answer))
		return
	}
	require.Equal(d.t, 404, status, answer)
	require.False(d.t, d.alone, "nobody else deletes")
	delete(d.known, id)
}

// list is what the list says, which has each item once.
func (d *device) list() map[string]version {
	there := map[string]version{}
	for link := "/api/items?limit=4"; link != ""; {
		status, answer, _ := d.ask("GET", link, "")
		require.Equal(d.t, 200, status, answer)
		var page struct {
			Value    []version
			NextLink string
		}
		require.NoError(d.t, json.Unmarshal([]byte(answer), &page))
		for _, item := range page.Value {
			require.NotContains(d.t, there, item.ID)
			there[item.ID] = item
		}
		link = page.NextLink
	}
	return there
}

func (d *device) sync() {
	link := d.link
	if link == "" {
		link = "/api/items/delta?limit=3"
	}
	for {
		status, answer, _ := d.ask("GET", link, "")
		if status == 410 && d.erased {
			require.Contains(d.t, answer, `"delta.resync"`)
			require.Contains(d.t, answer, `"erasedAt"`)
			d.link, d.copy = "", map[string]version{}
			link = "/api/items/delta?limit=3"
			continue
		}
		require.Equal(d.t, 200, status, answer)
		var page struct {
			Value               []version
			NextLink, DeltaLink string
		}
		require.NoError(d.t, json.Unmarshal([]byte(answer), &page))
		for _, change := range page.Value {
			if change.Deleted {
				delete(d.copy, change.ID)
			} else {
				d.copy[change.ID] = change
			}
		}
		if page.DeltaLink != "" {
			d.link = page.DeltaLink
			return
		}
		link = page.NextLink
	}
}

// history is what a caller's devices were told that they did.
type history struct {
	mu    sync.Mutex
	items map[string]*life
}

// life is an item's: the version that it began with, and what each version became.
type life struct {
	first   version
	became  map[string]version // by ETag
	gone    map[string]version
	perhaps map[string]bool // may have become something of which nobody was told
}

func (h *history) of(id string) *life {
	if h.items == nil {
		h.items = map[string]*life{}
	}
	l := h.items[id]
	if l == nil {
		l = &life{became: map[string]version{}, gone: map[string]version{}, perhaps: map[string]bool{}}
		h.items[id] = l
	}
	return l
}

func (h *history) created(item version) version {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of(item.ID).first = item
	return item
}

// createdUnseen notes an item of which it is not known what it was at first.
func (h *history) createdUnseen(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.of(id)
	l.first = version{ID: id}
	l.perhaps[""] = true
}

// erased forgets everything, as it is gone.
func (h *history) erased() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.items = nil
}

// changed notes what a version became. With If-Match: * a repeat is another change,
// so what the first one made may have been in between.
func (h *history) changed(from, match string, item version, repeated bool) version {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.of(item.ID)
	if match == "*" && repeated {
		l.perhaps[from] = true
	}
	l.became[from] = item
	return item
}

func (h *history) maybe(id, from string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of(id).perhaps[from] = true
}

func (h *history) deleted(t testing.TB, id, from string, gone version) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.of(id)
	if before, again := l.gone[from]; again {
		require.Equal(t, before, gone, "the first answer")
	}
	l.gone[from] = gone
}

// check follows each item's life and compares its end with what is there.
func (h *history) check(t testing.TB, name string, there map[string]version) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range there {
		require.Contains(t, h.items, id, "%s: nobody made it", name)
	}
	for id, l := range h.items {
		require.NotEmpty(t, l.first.ID, "%s: %s was changed and never made", name, id)
		at, followed := l.first, 0
		for {
			if next, ok := l.became[at.ETag]; ok {
				at, followed = next, followed+1
				continue
			}
			if !l.perhaps[at.ETag] {
				break
			}
			// Somebody's change of which nobody was told: what was made of it, or
			// what is there, shows it.
			unseen := version{}
			for from := range l.became {
				if !l.reached(from) {
					unseen.ETag = from
				}
			}
			for from := range l.gone {
				if !l.reached(from) {
					unseen.ETag = from
				}
			}
			if now, ok := there[id]; ok && !l.reached(now.ETag) {
				unseen = now
			}
			if unseen.ETag == "" || unseen.ETag == at.ETag {
				break
			}
			delete(l.perhaps, at.ETag)
			at = unseen
		}
		require.Equal(t, len(l.became), followed, "%s: changes of %s that were lost: %+v, there is %+v", name, id, l, there[id])
		require.LessOrEqual(t, len(l.gone), 1)
		if _, gone := l.gone[at.ETag]; gone {
			require.NotContains(t, there, id, "%s: it was deleted", name)
			continue
		}
		require.Empty(t, l.gone, "%s: %s was deleted in a version that it never had", name, id)
		require.Contains(t, there, id, "%s: it was lost: %+v", name, l)
		if at.whole() {
			require.Equal(t, at, there[id], "%s", name)
		}
		require.Equal(t, at.ETag, there[id].ETag, "%s", name)
	}
}

// reached reports whether a client was told of a version.
func (l *life) reached(etag string) bool {
	if l.first.ETag == etag {
		return true
	}
	for _, item := range l.became {
		if item.ETag == etag {
			return true
		}
	}
	return false
}
