package spatest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"itemsapi/handler/config"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/functionstest"
	"itemsapi/handler/tables/tablestest"
)

// World is what an app in a browser needs: the sign-in stand-in, and the handler behind
// the host double, with items in the strict Table service.
type World struct {
	Tenant *entratest.Server
	Host   *functionstest.Host

	storage *tablestest.Server
	dir     string // of the handler
}

// StartWorld builds the handler of the repository at root and starts it for apps of these
// origins, such as http://localhost:40123. The sign-in goes by the clock now, which may be
// nil. It ends with ctx at the latest.
func StartWorld(ctx context.Context, root string, origins []string, now func() time.Time) (w *World, err error) {
	w = &World{}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	w.Tenant, err = entratest.Start(entratest.Options{Addr: "localhost:0", SPAOrigins: origins, Now: now})
	if err != nil {
		return nil, err
	}
	if w.storage, err = tablestest.Start(tablestest.Options{}); err != nil {
		return nil, err
	}
	if w.dir, err = os.MkdirTemp("", "spatest"); err != nil {
		return nil, fmt.Errorf("make a folder for the handler: %w", err)
	}
	handler, err := functionstest.Build(ctx, root, w.dir)
	if err != nil {
		return nil, err
	}
	w.Host, err = functionstest.Start(ctx, functionstest.Config{
		Dir: root, Executable: handler, CORS: origins, Env: append(os.Environ(), w.settings()...),
	})
	if err != nil {
		return nil, err
	}
	return w, w.Host.Ready(ctx)
}

// Close stops all of it.
func (w *World) Close() {
	if w.Host != nil {
		_ = w.Host.Close()
	}
	if w.storage != nil {
		w.storage.Close()
	}
	if w.Tenant != nil {
		w.Tenant.Close()
	}
	_ = os.RemoveAll(w.dir)
}

func (w *World) settings() (env []string) {
	values := map[string]string{
		"B2C_TENANT":               entratest.TenantName,
		"B2C_POLICIES":             entratest.PolicySignUpSignIn + "," + entratest.PolicyProfileEdit,
		"B2C_API_CLIENT_ID":        entratest.APIClientID,
		"B2C_APP_ID_URI":           entratest.AppIDURI,
		"B2C_ALLOWED_CLIENTS":      entratest.ClientID,
		"B2C_METADATA_URL":         w.Tenant.MetadataTemplate(),
		"EXTERNAL_TENANT":          entratest.ExternalTenantName,
		"EXTERNAL_API_CLIENT_ID":   entratest.ExternalAPIClientID,
		"EXTERNAL_METADATA_URL":    w.Tenant.MetadataTemplateOf(entratest.External),
		"TABLES_CONNECTION_STRING": w.storage.ConnectionString(),
		"CALLER_RATE":              "0",
	}
	for _, s := range config.Settings {
		if s.Name != "FUNCTIONS_CUSTOMHANDLER_PORT" {
			env = append(env, s.Name+"="+values[s.Name])
		}
	}
	return env
}

// FindBrowser returns a browser's path: BROWSER_PATH, else a Chromium of this machine, else "".
func FindBrowser() string {
	if path := os.Getenv("BROWSER_PATH"); path != "" {
		return path
	}
	// The first is Chromium without its windows, which takes less than half the work.
	for _, name := range []string{
		"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
		"microsoft-edge",
	} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
