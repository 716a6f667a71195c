package entra

import "context"

// Check is one group of the catalogue, as [Verifier.Examine] found it.
type Check struct {
	Group Group
	// Refusals are the ways in which the credentials fail the group. None means
	// that they pass it, unless it was skipped.
	Refusals []*Refusal
	// Skipped says why the group could not be looked at, or is empty.
	Skipped string
}

// Examine tries all groups of the catalogue where Verify stops at the first
// refusal. It is for people who look into one token; it admits nobody.
// The error says that no Trust has a scope of that name.
func (v *Verifier) Examine(ctx context.Context, c Credentials, need ...Need) ([]Check, error) {
	if err := v.checkNeeds(need); err != nil {
		return nil, err
	}
	e := &evidence{verifier: v, needs: need, now: v.now()}
	e.raw, e.shape = c.token()
	var checks []Check
	hidden := map[Group]string{} // by what
	e.gather(ctx, func(g Group) bool {
		check := Check{Group: g, Skipped: e.cannot(g)}
		if by := hidden[g]; by != "" && check.Skipped == "" {
			check.Skipped = "follows from " + by
		}
		for i := range catalogue[g] {
			r := &catalogue[g][i]
			if check.Skipped == "" && hidden[g] == "" && r.applies(e) {
				snapshot := *e
				check.Refusals = append(check.Refusals, newRefusal(r, &snapshot))
				for _, other := range r.hides {
					hidden[other] = r.code
				}
			}
		}
		checks = append(checks, check)
		return true
	})
	return checks, nil
}

// cannot says why a group cannot be looked at with what is known.
func (e *evidence) cannot(g Group) string {
	switch {
	case g == GroupRequest:
		return ""
	case g == GroupForm && (e.raw == "" || e.shape.ofRequest()):
		return "there is no token"
	case g == GroupForm:
		return ""
	case !e.readable():
		return "the token cannot be read"
	case e.entry == nil && (g == GroupKeys || g == GroupIssuer || g == GroupKey):
		return "the token names no policy that is accepted"
	case e.keys == nil && (g == GroupIssuer || g == GroupKey):
		return "the keys could not be read"
	case g == GroupKey && e.keyError != nil && e.keyError != errUnknownKey:
		return "the key is not known, and the keys could not be read again"
	}
	return ""
}
