package entra

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
)

// Require returns middleware that lets through callers whose token grants all that is
// needed, and puts the caller into the request's context ([CallerFrom]). Everybody else
// is answered with the refusal's status, challenge (RFC 6750) and problem document
// (RFC 9457).
//
// Require panics if no Trust has a scope of that name, so that a mistake in the program
// shows when it starts.
func (v *Verifier) Require(need ...Need) func(http.Handler) http.Handler {
	if err := v.checkNeeds(need); err != nil {
		panic(err)
	}
	need = slices.Clone(need)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			caller, refuse := v.admit(r, need)
			if refuse != nil {
				refuse(w)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)))
		})
	}
}

// admit returns the caller, or the answer to send. Whatever panics on the way ends in
// an answer, too.
func (v *Verifier) admit(r *http.Request, need []Need) (caller *Caller, refuse func(http.ResponseWriter)) {
	defer func() {
		if cause := recover(); cause != nil {
			caller, refuse = nil, internalError(v.realm).writer()
			v.log.Error("panic while a token was checked", "error", fmt.Sprintf("%v\n%s", cause, debug.Stack()))
		}
	}()
	caller, err := v.Verify(r.Context(), CredentialsOf(r), need...)
	if err == nil {
		return caller, nil
	}
	refusal, refused := errors.AsType[*Refusal](err)
	if !refused { // Require has checked what is needed
		panic(err)
	}
	return nil, refusal.Problem().writer()
}

// writer makes the answer at once, and writes it when it is called.
func (p *Problem) writer() func(http.ResponseWriter) {
	status, header, body := p.Answer()
	return func(w http.ResponseWriter) {
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		_, _ = w.Write(body) // the client is gone if this fails
	}
}

type callerKey struct{}

// CallerFrom is the caller of a request that [Verifier.Require] let through.
func CallerFrom(ctx context.Context) (*Caller, bool) {
	caller, ok := ctx.Value(callerKey{}).(*Caller)
	return caller, ok
}
