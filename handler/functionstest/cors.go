package functionstest

import (
	"slices"
	"strings"
)

// cors is the middleware in front of all functions that both the host and
// `func start` take from ASP.NET.
type cors struct {
	origins     []string
	any         bool
	credentials bool
}

func newCORS(origins []string, credentials bool) *cors {
	if len(origins) == 0 {
		return nil
	}
	c := &cors{any: slices.Contains(origins, "*"), credentials: credentials}
	for _, origin := range origins {
		c.origins = append(c.origins, strings.ToLower(origin))
	}
	return c
}

// broken: ASP.NET does not start with this combination, and every request with an
// Origin is 500.
func (c *cors) broken() bool { return c.any && c.credentials }

func (c *cors) allows(origin string) bool { return c.any || slices.Contains(c.origins, origin) }

func isPreflight(r *request) bool {
	return r.method == "OPTIONS" && r.header.has("Origin") && r.header.has("Access-Control-Request-Method")
}

// originOf is the Origin that ASP.NET compares: two lines are one value, which no
// origin is.
func originOf(r *request) string { return strings.Join(r.header.values("Origin"), ",") }

// mark sets the headers that let the page at origin read an answer. A refused
// origin leaves the handler's own headers alone.
func (c *cors) mark(answer *header, origin string) {
	if !c.allows(origin) {
		return
	}
	if c.any {
		origin = "*"
	} else if len(c.origins) > 1 {
		answer.add("Vary", "Origin")
	}
	answer.set("Access-Control-Allow-Origin", origin)
	if c.credentials {
		answer.set("Access-Control-Allow-Credentials", "true")
	}
}

// preflight is the answer to a preflight, the same for every path.
func (c *cors) preflight(r *request) header {
	var h header
	origin := originOf(r)
	if !c.allows(origin) {
		return h
	}
	c.mark(&h, origin)
	var names []string
	for name := range strings.SplitSeq(strings.Join(r.header.values("Access-Control-Request-Headers"), ","), ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		h.add("Access-Control-Allow-Headers", strings.Join(names, ","))
	}
	h.add("Access-Control-Allow-Methods", r.header.get("Access-Control-Request-Method"))
	return h
}
