package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What Microsoft Graph v1.0 knows of an application, as far as it is ours to say.
// Arrays are replaced as a whole by PATCH, so what others put in is sent back.
type application struct {
	ID             string           `json:"id,omitempty"`
	AppID          string           `json:"appId,omitempty"`
	DisplayName    string           `json:"displayName,omitempty"`
	SignInAudience string           `json:"signInAudience,omitempty"`
	IdentifierURIs []string         `json:"identifierUris,omitempty"`
	API            *apiApplication  `json:"api,omitempty"`
	AppRoles       []appRole        `json:"appRoles,omitempty"`
	OptionalClaims *optionalClaims  `json:"optionalClaims,omitempty"`
	SPA            *redirects       `json:"spa,omitempty"`
	PublicClient   *redirects       `json:"publicClient,omitempty"`
	Access         []resourceAccess `json:"requiredResourceAccess,omitempty"`
}

type apiApplication struct {
	TokenVersion *int    `json:"requestedAccessTokenVersion,omitempty"`
	Scopes       []scope `json:"oauth2PermissionScopes,omitempty"`
}

type scope struct {
	ID          string `json:"id"`
	Value       string `json:"value"`
	Type        string `json:"type"`
	IsEnabled   bool   `json:"isEnabled"`
	DisplayName string `json:"adminConsentDisplayName"`
	Description string `json:"adminConsentDescription"`
	UserName    string `json:"userConsentDisplayName,omitempty"`
	UserText    string `json:"userConsentDescription,omitempty"`
}

// appRole may have the value of a scope, if it has its ID, texts and state, too.
type appRole struct {
	ID          string   `json:"id"`
	Value       string   `json:"value"`
	For         []string `json:"allowedMemberTypes"`
	IsEnabled   bool     `json:"isEnabled"`
	DisplayName string   `json:"displayName"`
	Description string   `json:"description"`
}

// optionalClaims are sent back as they came, but for what is added.
type optionalClaims struct {
	IDToken     []json.RawMessage `json:"idToken"`
	AccessToken []json.RawMessage `json:"accessToken"`
	SAML2Token  []json.RawMessage `json:"saml2Token"`
}

type redirects struct {
	URIs []string `json:"redirectUris"`
}

type resourceAccess struct {
	AppID  string       `json:"resourceAppId"`
	Access []permission `json:"resourceAccess"`
}

type permission struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

type servicePrincipal struct {
	ID    string `json:"id,omitempty"`
	AppID string `json:"appId"`
}

// userFlow is how people sign up and in to an external tenant.
type userFlow struct {
	ID          string `json:"id"`
	DisplayName string `json:"displayName"`
}

// flowApplication links an application to a user flow.
type flowApplication struct {
	Type  string `json:"@odata.type"`
	AppID string `json:"appId"`
}

type grant struct {
	ID          string `json:"id,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
	ConsentType string `json:"consentType,omitempty"`
	ResourceID  string `json:"resourceId,omitempty"`
	Scope       string `json:"scope"`
}

// graph calls Microsoft Graph.
type graph struct {
	base  string // with /v1.0
	token string
	// patience is how long what Graph has not heard of yet is asked again: it says
	// 404, or 400, to an object that another of its servers has just made.
	patience, pause time.Duration
}

// graphError is what Graph answered.
type graphError struct {
	status  int
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *graphError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.Code, e.Message) }

const maxAnswer = 4 << 20 // bytes

// call sends a request, again where that may help, and decodes the answer into out.
func (g *graph) call(ctx context.Context, method, path string, body, out any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	deadline := time.Now().Add(g.patience)
	for {
		wait, err := g.once(ctx, method, path, text, out)
		if err == nil {
			return nil
		}
		if wait < 0 || time.Now().Add(wait).After(deadline) {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(wait, g.pause)):
		}
	}
}

// once returns, with an error, when to try again; below zero is never.
func (g *graph) once(ctx context.Context, method, path string, body []byte, out any) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, method, g.base+path, bytes.NewReader(body))
	if err != nil {
		return -1, err
	}
	req.Header.Set("Authorization", "Bearer "+g.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if method == http.MethodPatch && strings.Contains(path, "(uniqueName=") {
		req.Header.Set("Prefer", "create-if-missing, return=representation")
	}
	client := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request,
		[]*http.Request,
	) error {
		return http.ErrUseLastResponse
	}}
	resp, err := client.Do(req)
	if err != nil {
		if method == http.MethodPost {
			return -1, err // the next run finds what it made
		}
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		if out == nil || len(bytes.TrimSpace(answer)) == 0 {
			return 0, nil
		}
		if err := json.Unmarshal(answer, out); err != nil {
			return -1, fmt.Errorf("read the answer: %w", err)
		}
		return 0, nil
	}
	failure := struct{ Error graphError }{}
	_ = json.Unmarshal(answer, &failure) // what is not JSON has no code
	failure.Error.status = resp.StatusCode
	switch {
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return time.Duration(seconds) * time.Second, &failure.Error
	case resp.StatusCode == http.StatusNotFound,
		resp.StatusCode == http.StatusBadRequest && (failure.Error.Code == "Request_ResourceNotFound" ||
			strings.Contains(failure.Error.Message, "does not exist") ||
			strings.Contains(failure.Error.Message, "NoBackingApplicationObject")):
		return 0, &failure.Error // it may not be known everywhere yet
	}
	return -1, &failure.Error
}

// find returns the objects of a collection that match a filter, or all where it is empty.
func find[T any](ctx context.Context, g *graph, collection, filter, sel string) ([]T, error) {
	query := url.Values{}
	if filter != "" {
		query.Set("$filter", filter)
	}
	if sel != "" {
		query.Set("$select", sel)
	}
	var page struct {
		Value []T    `json:"value"`
		Next  string `json:"@odata.nextLink"`
	}
	if err := g.call(ctx, http.MethodGet, "/"+collection+"?"+strings.ReplaceAll(query.Encode(), "+", "%20"), nil,
		&page); err != nil {
		return nil, err
	}
	if page.Next != "" {
		return nil, errors.New("Graph has more than a page of " + collection + " for " + filter)
	}
	return page.Value, nil
}

// quoted is a string in an OData filter.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
