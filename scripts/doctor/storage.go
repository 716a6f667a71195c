package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"itemsapi/handler/config"
	"itemsapi/scripts/internal/report"
)

func (d *doctor) checkStorage(ctx context.Context, c config.Config) {
	if c.TablesEndpoint != "" {
		d.checkEndpoint(ctx, c.TablesEndpoint)
		return
	}
	d.hideParts("TABLES_CONNECTION_STRING", c.TablesConnectionString)
	service, err := aztables.NewServiceClientFromConnectionString(c.TablesConnectionString,
		&aztables.ClientOptions{ClientOptions: azcore.ClientOptions{
			Transport: client,
			Retry:     policy.RetryOptions{MaxRetries: -1},
			Telemetry: policy.TelemetryOptions{Disabled: true},
		}})
	if err != nil {
		d.Fail("storage", "TABLES_CONNECTION_STRING cannot be used: "+err.Error()+".",
			"Copy it again. Portal: Storage accounts > (the account) > Access keys > Connection string.")
		return
	}
	table := service.NewClient(c.Table)
	// No caller's partition is named so: those have a GUID first.
	row := map[string]string{"PartitionKey": "doctor", "RowKey": rand.Text()}

	_, err = table.GetEntity(ctx, row["PartitionKey"], row["RowKey"], nil)
	switch code := storageCode(err); {
	case err == nil || code == string(aztables.ResourceNotFound): // the table, not the row, is what matters
		d.OK("storage", "answers, and the table %s is there", c.Table)
	case code == string(aztables.TableNotFound):
		d.Fail("storage", "It answers, but there is no table "+c.Table+".",
			"Start the API once: with a connection string it creates the table. If there should be one, ITEMS_TABLE "+
				"names another.")
		d.Skip("storage, writing", "there is no table")
		return
	default:
		d.storageFailed("storage", "It cannot be read", err)
		d.Skip("storage, writing", "it cannot even be read")
		return
	}

	body, err := json.Marshal(row)
	if err != nil {
		d.Fail("storage, writing", err.Error(), "")
		return
	}
	_, insertError := table.AddEntity(ctx, body, nil)
	// Only a clear refusal proves that nothing was written.
	if refusal, ok := errors.AsType[*azcore.ResponseError](insertError); !ok || refusal.StatusCode >= 500 {
		// Also after Ctrl-C; the client's own time limit remains.
		_, err := table.DeleteEntity(context.WithoutCancel(ctx), row["PartitionKey"], row["RowKey"], nil)
		if err != nil && storageCode(err) != string(aztables.ResourceNotFound) {
			what := "The row that was written to try it could not be deleted"
			if insertError != nil {
				what = "A row may have been written, and could not be deleted"
			}
			d.storageFailed("storage, writing", fmt.Sprintf("%s: PartitionKey %s, RowKey %s in the table %s", what,
				row["PartitionKey"], row["RowKey"], c.Table), err)
			return
		}
	}
	if insertError != nil {
		d.storageFailed("storage, writing", "No row can be written", insertError)
		return
	}
	d.OK("storage, writing", "a row was written and deleted again")
}

// checkEndpoint does what can be done without an identity of Azure.
func (d *doctor) checkEndpoint(ctx context.Context, endpoint string) {
	a, err := call(ctx, http.MethodGet, endpoint+"/", nil)
	if err != nil {
		d.Fail("storage", fmt.Sprintf("%s: %s.", endpoint, trouble(err)),
			"Check TABLES_ENDPOINT against the account's name. Portal: Storage accounts > (the account) > Endpoints > "+
				"Table service.")
	} else if a.header.Get("X-Ms-Request-Id") == "" {
		d.Fail("storage", fmt.Sprintf("%s answers %s, but not as a storage account does.", endpoint, a.said()),
			"Check TABLES_ENDPOINT, and what stands between: a proxy, a private endpoint's name.")
	} else {
		d.OK("storage", "%s answers", endpoint)
	}
	d.Skip("storage, writing", "the managed identity of TABLES_ENDPOINT exists only in Azure; the app's log says "+
		"whether it may write")
}

func storageCode(err error) string {
	if refusal, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return refusal.ErrorCode
	}
	return ""
}

// storageFailed explains an error of the Table service. The error's own text is
// not shown: it quotes the request.
func (d *doctor) storageFailed(name, what string, err error) {
	refusal, answered := errors.AsType[*azcore.ResponseError](err)
	if !answered {
		where := ""
		if u, ok := errors.AsType[*url.Error](err); ok {
			if parsed, parseError := url.Parse(u.URL); parseError == nil {
				where = parsed.Host + ": "
			}
		}
		d.Fail(name, fmt.Sprintf("%s: %s%s.", what, where, trouble(err)),
			"Start it: go run ./scripts/dev, or Azurite for UseDevelopmentStorage=true. Elsewhere check the account's "+
				"name and its firewall (Portal: Storage accounts > (the account) > Networking).")
		return
	}
	fix := "Look the code up in Microsoft's \"Table service error codes\"."
	switch refusal.ErrorCode {
	case "AuthenticationFailed", "InvalidAuthenticationInfo":
		fix = "The key is wrong, was rotated, or belongs to another account; or this machine's clock is off by more " +
			"than 15 minutes. Portal: Storage accounts > (the account) > Access keys."
	case "AuthorizationPermissionMismatch", "AuthorizationFailure", "InsufficientAccountPermissions":
		fix = "The credential lacks the permission, or the account's firewall keeps this machine out. Use the " +
			"account's key, or a shared access signature that may read, add, update and delete."
	case "KeyBasedAuthenticationNotPermitted":
		fix = "The account admits no keys. Use TABLES_ENDPOINT with a managed identity in Azure, and an emulator " +
			"locally."
	case "AccountIsDisabled":
		fix = "The account is disabled; see its page in the portal."
	}
	said := http.StatusText(refusal.StatusCode)
	if refusal.ErrorCode != "" {
		said = refusal.ErrorCode
	}
	d.Add(report.Check{
		Name: name, Status: report.StatusFail, Code: refusal.ErrorCode,
		Detail: fmt.Sprintf("%s: the Table service answered %d %s.", what, refusal.StatusCode, said), Fix: fix,
	})
}
