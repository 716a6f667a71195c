// Command goclient calls the API through a client that oapi-codegen generates from its
// OpenAPI document, in the package api beside this file: what compiles here is what the
// document promises, and what runs is what the API keeps. API_URL is the API's address
// without /api, TOKEN an access token with both scopes, SAMPLES the file with the samples
// that the API's own tests use.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"

	"client.test/goclient/api"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("The generated client and the API agree.")
}

// must is what an answer has, or the problem's own words.
func must[T any](value *T, response *http.Response, body []byte) (*T, error) {
	if value != nil {
		return value, nil
	}
	var problem api.Problem
	if err := json.Unmarshal(body, &problem); err != nil {
		return nil, fmt.Errorf("%s %s: %s: %w", response.Request.Method, response.Request.URL, response.Status, err)
	}
	return nil, fmt.Errorf("%s %s: %s", response.Request.Method, response.Request.URL, problem.Code)
}

func run(ctx context.Context) error {
	text, err := os.ReadFile(os.Getenv("SAMPLES"))
	if err != nil {
		return err
	}
	var samples struct {
		Good []api.Draft
		Text string // where a text is, /name
	}
	if err := json.Unmarshal(text, &samples); err != nil {
		return fmt.Errorf("read the samples as the generated type: %w", err)
	}
	client, err := api.NewClientWithResponses(os.Getenv("API_URL")+"/api", api.WithRequestEditorFn(
		func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+os.Getenv("TOKEN"))
			return nil
		},
	))
	if err != nil {
		return err
	}

	// Create, twice with one key.
	key := "a-key"
	var created *api.Saved
	for range 2 {
		r, err := client.CreateItemWithResponse(ctx, &api.CreateItemParams{IdempotencyKey: &key}, samples.Good[0])
		if err != nil {
			return err
		}
		saved, err := must(r.JSON201, r.HTTPResponse, r.Body)
		if err != nil {
			return err
		}
		if created != nil && (saved.Id != created.Id || saved.Etag != created.Etag) {
			return fmt.Errorf("a repeat created %v beside %v", saved.Id, created.Id)
		}
		created = saved
	}

	// Sync to the end, by the cursor and the token.
	limit := 1
	follow := func(params *api.ListChangesParams) (told []api.DeltaEntry, token string, err error) {
		for {
			r, err := client.ListChangesWithResponse(ctx, params)
			if err != nil {
				return nil, "", err
			}
			d, err := must(r.JSON200, r.HTTPResponse, r.Body)
			if err != nil {
				return nil, "", err
			}
			told = append(told, d.Value...)
			if d.Token != nil {
				return told, *d.Token, nil
			}
			params = &api.ListChangesParams{Limit: &limit, Cursor: d.Cursor}
		}
	}
	if _, err := client.CreateItemWithResponse(ctx, nil, samples.Good[1]); err != nil {
		return err
	}
	told, token, err := follow(&api.ListChangesParams{Limit: &limit})
	if err != nil {
		return err
	}
	if len(told) != 2 {
		return fmt.Errorf("the first delta tells %d items", len(told))
	}

	// Change, with the version that was read; then with an old one.
	replaced, err := client.ReplaceItemWithResponse(
		ctx, created.Id, &api.ReplaceItemParams{IfMatch: &created.Etag}, api.Replacement(samples.Good[1]),
	)
	if err != nil {
		return err
	}
	saved, err := must(replaced.JSON200, replaced.HTTPResponse, replaced.Body)
	if err != nil {
		return err
	}
	var patch any = "patched"
	names := strings.Split(strings.TrimPrefix(samples.Text, "/"), "/")
	for i := len(names) - 1; i >= 0; i-- {
		patch = map[string]any{names[i]: patch}
	}
	patched, err := client.PatchItemWithApplicationMergePatchPlusJSONBodyWithResponse(
		ctx, created.Id, &api.PatchItemParams{IfMatch: saved.Etag}, patch.(map[string]any),
	)
	if err != nil {
		return err
	}
	if saved, err = must(patched.JSON200, patched.HTTPResponse, patched.Body); err != nil {
		return err
	}
	stale, err := client.DeleteItemWithResponse(ctx, created.Id, &api.DeleteItemParams{IfMatch: created.Etag})
	if err != nil {
		return err
	}
	if p := stale.ApplicationproblemJSON412; p == nil || p.Code != "item.changed" {
		return fmt.Errorf("a deletion of an old version was answered %s", stale.Body)
	}

	// A batch of changes, and what it made of the items.
	changes := []api.BatchChange{
		{Create: &api.BatchCreate{}}, {Delete: &api.BatchDelete{Id: created.Id, Etag: saved.Etag}},
	}
	content, err := json.Marshal(samples.Good[0])
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, changes[0].Create); err != nil {
		return err
	}
	r, err := client.CreateItemsWithResponse(ctx, nil, api.Batch{Changes: &changes})
	if err != nil {
		return err
	}
	batch, err := must(r.JSON200, r.HTTPResponse, r.Body)
	if err != nil {
		return err
	}
	if gone := batch.Value[1]; gone.Id != created.Id || gone.Deleted == nil || !*gone.Deleted {
		return fmt.Errorf("the deletion was answered %+v", gone)
	}
	if told, _, err = follow(&api.ListChangesParams{Token: &token}); err != nil {
		return err
	}
	if len(told) != 2 {
		return fmt.Errorf("the second delta tells %d items", len(told))
	}

	// Read what is there, and what is not.
	list, err := client.ListItemsWithResponse(ctx, &api.ListItemsParams{Select: &api.Select{"id", "etag"}})
	if err != nil {
		return err
	}
	page, err := must(list.JSON200, list.HTTPResponse, list.Body)
	if err != nil {
		return err
	}
	if len(page.Value) != 2 || page.Value[0].Id == nil || page.Value[0].CreatedAt != nil {
		return fmt.Errorf("the list is %s", list.Body)
	}
	absent, err := client.GetItemWithResponse(ctx, created.Id, nil)
	if err != nil {
		return err
	}
	if p := absent.ApplicationproblemJSON404; p == nil || p.Code != "item.not_found" {
		return fmt.Errorf("a deleted item was answered %s", absent.Body)
	}
	return nil
}
