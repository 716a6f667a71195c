package entratest

import "time"

const (
	codeLife        = 10 * time.Minute
	sessionLife     = 24 * time.Hour
	spaRefreshLife  = 24 * time.Hour      // counted from the first one, however often it is renewed
	refreshLife     = 14 * 24 * time.Hour // counted from each renewal
	refreshLifeLast = 90 * 24 * time.Hour // counted from the first one
)

// grant is what a code or a refresh token stands for.
type grant struct {
	client       *application
	policy       *policy
	door         string
	user         User
	platform     platform
	redirectURI  string
	scopes       scopeRequest
	declined     []string // scopes that the user unticked
	nonce        string
	challenge    string    // PKCE; "" if there was none
	method       string    // plain or S256
	signedInAt   time.Time // the session's start, for auth_time
	began        time.Time // when its first refresh token was issued
	issued, ends time.Time
	used         bool
}

// session is a browser in which somebody is signed in.
type session struct {
	dir        *directory
	user       User
	signedInAt time.Time
}

// store keeps values by name, and no more of them than storeSize: the oldest
// goes first.
type store[T any] struct {
	values map[string]T
	order  []string
}

const storeSize = 2_000

func (s *store[T]) put(name string, v T) {
	if s.values == nil {
		s.values = map[string]T{}
	}
	if _, known := s.values[name]; !known {
		s.order = append(s.order, name)
	}
	s.values[name] = v
	for len(s.order) > storeSize {
		delete(s.values, s.order[0])
		s.order = s.order[1:]
	}
}

func (s *store[T]) get(name string) (v T, ok bool) {
	v, ok = s.values[name]
	return v, ok
}

// remove leaves the name in the order; that costs nothing but its bytes.
func (s *store[T]) remove(name string) { delete(s.values, name) }

// grants is everything that was given out. Server.mu guards it.
type grants struct {
	codes    store[*grant]
	refresh  store[*grant]
	sessions store[session]
	gone     map[string]bool // object IDs of removed accounts
}

func (s *Server) putCode(g *grant) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	code := sealed(g.policy.dir)
	s.grants.codes.put(code, g)
	return code
}

// take uses a grant up. A second use is answered as B2C answers a revoked one.
// The checks of other things come first, so that a mistake does not use it up.
func (s *Server) take(grants *store[*grant], name string, check func(*grant) *failure) (*grant, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := grants.get(name)
	if !ok {
		return nil, fail("AADB2C90085")
	}
	if f := check(g); f != nil {
		return nil, f
	}
	now := s.now()
	switch {
	case g.used:
		return nil, fail("AADB2C90129")
	case !now.Before(g.ends):
		return nil, fail("AADB2C90080", now.Unix(), g.issued.Unix(), g.ends.Unix())
	case s.grants.gone[g.user.ObjectID]:
		return nil, fail("AADB2C90128")
	}
	g.used = true
	return g, nil
}

// newRefreshToken makes the first refresh token of a sign-in, or the next one.
func (s *Server) newRefreshToken(g grant) (token string, left time.Duration) {
	now := s.now()
	if g.began.IsZero() {
		g.began = now
	}
	if g.platform == spa {
		g.ends = g.began.Add(spaRefreshLife)
	} else {
		g.ends = now.Add(refreshLife)
		if last := g.began.Add(refreshLifeLast); last.Before(g.ends) {
			g.ends = last
		}
	}
	g.issued, g.used, g.challenge = now, false, ""
	token = sealed(g.policy.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grants.refresh.put(token, &g)
	return token, g.ends.Sub(now)
}

// RemoveUser deletes a person's account in each tenant: it cannot sign in any more, and its refresh
// tokens are answered with AADB2C90128. The error says which users there are.
func (s *Server) RemoveUser(name string) error {
	var ids []string
	for _, d := range s.directories() {
		u, err := d.findUser(name)
		if err != nil {
			return err
		}
		ids = append(ids, u.ObjectID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grants.gone == nil {
		s.grants.gone = map[string]bool{}
	}
	for _, id := range ids {
		s.grants.gone[id] = true
	}
	return nil
}

// accounts are the users of a tenant who were not removed.
func (s *Server) accounts(d *directory) []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []User
	for _, u := range d.users {
		if !s.grants.gone[u.ObjectID] {
			list = append(list, u)
		}
	}
	return list
}

func (s *Server) findAccount(d *directory, name string) (User, bool) {
	for _, u := range s.accounts(d) {
		if u.is(name) {
			return u, true
		}
	}
	return User{}, false
}
