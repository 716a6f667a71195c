package entra

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"
)

// NewWithSleep is New with another way to wait between two readings of keys.
func NewWithSleep(ctx context.Context, c Config, sleep func(time.Duration) <-chan time.Time) *Verifier {
	v, err := prepare(c)
	if err != nil {
		panic(err)
	}
	for _, x := range v.entries {
		x.keys.sleep = sleep
		go x.keys.run(ctx)
	}
	return v
}

// Skipped is how many published keys of the only entry are not used.
func (v *Verifier) Skipped() int { return v.entries[0].keys.set.Load().skipped }

// ScanObject shows the scanner to the fuzzer: the names of the outermost level.
func ScanObject(data []byte) (names []string, err error) {
	err = scanObject(string(data), func(name string, v value) {
		if v.kind == '"' {
			unescape(v.text)
		}
		names = append(names, name)
	})
	return names, err
}

// ParseToken shows the reading of a token to the fuzzer.
func ParseToken(raw string) (claims map[string]string, ok bool) {
	var t token
	s := t.parse(raw)
	return map[string]string{
		"alg": t.alg, "kid": t.kid, "iss": t.iss, "aud": t.aud, "sub": t.sub, "scp": t.scp,
		"signature": string(t.signature),
	}, s == sound
}

// Roles shows the reading of a payload's app roles to the fuzzer.
func Roles(payload string) (roles []string, ok bool) {
	var t token
	err := scanObject(payload, func(name string, v value) { t.claim(name, v) })
	return t.roles, err == nil
}

// PanicInExplanation has the explanation of a code panic, until restore is called.
func PanicInExplanation(code string) (restore func()) {
	for _, rules := range catalogue {
		for i := range rules {
			if r := &rules[i]; r.code == code {
				was := r.explain
				r.explain = func(*evidence) (string, string) { panic("the explanation") }
				return func() { r.explain = was }
			}
		}
	}
	panic("no such code: " + code)
}

// Forgetting returns what makes the verifier forget a token.
func (v *Verifier) Forgetting(token string) func() {
	place := v.memory.place(token)
	return func() { place.Store(nil) }
}

// Remembers reports whether the verifier remembers a token.
func (v *Verifier) Remembers(token string) bool {
	place := v.memory.place(token)
	if place == nil {
		return false
	}
	a := place.Load()
	return a != nil && a.hash == sha256.Sum256([]byte(token))
}

// Remember has the verifier remember a token that its first entry admitted for ever, with
// texts as long as may be.
func (v *Verifier) Remember(raw string) {
	long := strings.Repeat("x", maxRemembered/2-16)
	e := &evidence{
		verifier: v, entry: v.entries[0], keys: &keySet{}, raw: raw, token: token{exp: seconds{at: 1 << 40}},
	}
	v.memory.keep(e, &Caller{Subject: long, Client: long, Scopes: []string{"read", "write"}})
}
