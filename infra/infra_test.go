// Package infra_test reads in the committed snapshots what will be created, and
// holds it against what the compiler does not know. A snapshot is what Bicep
// predicts for one of tests/*.bicepparam; the compiler itself, where it is on PATH,
// says whether they are up to date.
package infra_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/drone/envsubst"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"itemsapi/handler/config"
)

var cases = []string{"dev", "prod", "network"}

type resource struct {
	ID, Type, Name, Scope string
	Kind                  string
	SKU                   struct{ Name string }
	Tags                  map[string]string
	Identity              map[string]any
	Properties            map[string]any
}

type snapshot struct {
	Resources   []resource      `json:"predictedResources"`
	Diagnostics json.RawMessage `json:"diagnostics"`
	Outputs     map[string]any  `json:"outputs"`
	text        string
}

func load(t *testing.T, name string) *snapshot {
	text, err := os.ReadFile(filepath.Join("tests", name+".snapshot.json"))
	require.NoError(t, err)
	return parse(t, string(text))
}

func parse(t *testing.T, text string) *snapshot {
	s := &snapshot{text: text}
	require.NoError(t, json.Unmarshal([]byte(text), s))
	require.Greater(t, len(s.Resources), 15)
	return s
}

func (s *snapshot) of(kind string) (found []resource) {
	for _, r := range s.Resources {
		if r.Type == kind {
			found = append(found, r)
		}
	}
	return found
}

// one is the only resource of a type.
func (s *snapshot) one(kind string) resource {
	if found := s.of(kind); len(found) == 1 {
		return found[0]
	}
	return resource{Properties: map[string]any{}}
}

// at follows a path of members; what is not there is nil.
func at(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// short is the last parts of a resource's ID, without the names' generated ends.
func short(id string) string {
	parts := strings.Split(id, "/providers/")
	return regexp.MustCompile(`^([^/]+/[^/]+/[^/]+?)[a-z0-9]{10}(/|$)`).ReplaceAllString(parts[len(parts)-1], "$1*$2")
}

// checks are what must hold for each case. Each returns what is wrong.
var checks = map[string]func(s *snapshot, name string) []string{
	"no diagnostics": func(s *snapshot, _ string) []string {
		if d := strings.TrimSpace(string(s.Diagnostics)); d != "[]" {
			return []string{d}
		}
		return nil
	},

	"no secrets": func(s *snapshot, _ string) (wrong []string) {
		for _, pattern := range []string{`(?i)listkeys`, `(?i)accountkey`, `(?i)sharedaccess`, `(?i)listAdminKeys`, `(?i)instrumentationkey`, `(?i)password`, `(?i)client_?secret`} {
			wrong = append(wrong, regexp.MustCompile(`.*`+pattern+`.*`).FindAllString(s.text, -1)...)
		}
		for name, value := range s.Outputs {
			if strings.Contains(strings.ToLower(fmt.Sprint(name, value)), "connection") {
				wrong = append(wrong, "output "+name)
			}
		}
		return wrong
	},

	"roles": func(s *snapshot, _ string) (wrong []string) {
		expected := []string{
			"Monitoring Metrics Publisher on Microsoft.Insights/components/appi-*",
			"Storage Blob Data Owner on Microsoft.Storage/storageAccounts/sthost*",
			"Storage Table Data Contributor on Microsoft.Storage/storageAccounts/stitems*/tableServices/default/tables/" + config.Collection,
		}
		names := map[string]string{
			"b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
			"0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
			"3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
		}
		var found []string
		for _, r := range s.of("Microsoft.Authorization/roleAssignments") {
			definition := fmt.Sprint(r.Properties["roleDefinitionId"])
			role := names[definition[strings.LastIndex(definition, "/")+1:]]
			scope := strings.Split(r.ID, "/providers/Microsoft.Authorization/")[0]
			found = append(found, role+" on "+short(scope))
			principal := fmt.Sprint(r.Properties["principalId"])
			if !strings.Contains(principal, "/userAssignedIdentities/id-api-") || !strings.HasSuffix(principal, ".principalId]") || r.Properties["principalType"] != "ServicePrincipal" {
				wrong = append(wrong, "a role for "+principal)
			}
		}
		slices.Sort(found)
		if !slices.Equal(expected, found) {
			wrong = append(wrong, fmt.Sprintf("roles are %q instead of %q", found, expected))
		}
		return wrong
	},

	"runtime": func(s *snapshot, _ string) []string {
		runtime := at(s.one("Microsoft.Web/sites").Properties, "functionAppConfig.runtime")
		if fmt.Sprint(runtime) != "map[name:custom version:1.0]" {
			return []string{fmt.Sprint("the runtime is ", runtime)}
		}
		return nil
	},

	// Flex Consumption answers 51021 to these, or does not start.
	"what Flex refuses": func(s *snapshot, _ string) (wrong []string) {
		site := s.one("Microsoft.Web/sites")
		siteConfig, _ := at(site.Properties, "siteConfig").(map[string]any)
		for _, key := range []string{"linuxFxVersion", "ftpsState", "netFrameworkVersion", "use32BitWorkerProcess", "preWarmedInstanceCount", "functionsRuntimeScaleMonitoringEnabled", "alwaysOn", "healthCheckPath", "appSettings", "minimumElasticInstanceCount"} {
			if _, there := siteConfig[key]; there {
				wrong = append(wrong, "siteConfig."+key)
			}
		}
		for key := range settings(s) {
			for _, refused := range []string{"FUNCTIONS_", "WEBSITE_", "SCM_DO_BUILD", "ENABLE_ORYX", "AzureWebJobsStorage__blobServiceUri", "TZ"} {
				if strings.HasPrefix(key, refused) {
					wrong = append(wrong, "setting "+key)
				}
			}
		}
		if plan := s.one("Microsoft.Web/serverfarms"); plan.SKU.Name != "FC1" || plan.Properties["reserved"] != true {
			wrong = append(wrong, "the plan is not Flex Consumption on Linux")
		}
		return wrong
	},

	"host storage": func(s *snapshot, _ string) (wrong []string) {
		value := fmt.Sprint(at(s.one("Microsoft.Web/sites").Properties, "functionAppConfig.deployment.storage.value"))
		container := s.one("Microsoft.Storage/storageAccounts/blobServices/containers")
		name := container.Name[strings.LastIndex(container.Name, "/")+1:]
		if name == "" || !strings.Contains(value, "/storageAccounts/sthost") || !strings.Contains(value, "'"+name+"'") {
			wrong = append(wrong, "the package's container is not made: "+value)
		}
		if account := fmt.Sprint(settings(s)["AzureWebJobsStorage__accountName"]); !strings.HasPrefix(account, "sthost") {
			wrong = append(wrong, "the host's storage is "+account)
		}
		for _, key := range []string{"AzureWebJobsStorage__credential", "AzureWebJobsStorage__clientId"} {
			if settings(s)[key] == nil {
				wrong = append(wrong, key+" is missing, without which a user-assigned identity is not used")
			}
		}
		return wrong
	},

	"azd": func(s *snapshot, name string) (wrong []string) {
		if tag := s.one("Microsoft.Web/sites").Tags["azd-service-name"]; tag != "api" {
			wrong = append(wrong, "azd-service-name is "+tag)
		}
		for _, r := range append(s.of("Microsoft.Resources/resourceGroups"), s.of("Microsoft.Web/sites")...) {
			if r.Tags["azd-env-name"] != name {
				wrong = append(wrong, r.Name+" has no azd-env-name")
			}
		}
		for _, output := range []string{"AZURE_LOCATION", "AZURE_TENANT_ID", "SERVICE_API_NAME", "SERVICE_API_URI", "AZURE_STORAGE_TABLE_ENDPOINT"} {
			if _, there := s.Outputs[output]; !there {
				wrong = append(wrong, "no output "+output)
			}
		}
		return wrong
	},

	"storage is locked": func(s *snapshot, _ string) (wrong []string) {
		accounts := s.of("Microsoft.Storage/storageAccounts")
		if len(accounts) != 2 {
			wrong = append(wrong, fmt.Sprint(len(accounts), " accounts instead of 2"))
		}
		for _, a := range accounts {
			for path, want := range map[string]any{"allowSharedKeyAccess": false, "allowBlobPublicAccess": false, "minimumTlsVersion": "TLS1_2", "supportsHttpsTrafficOnly": true, "allowCrossTenantReplication": false} {
				if got := at(a.Properties, path); got != want {
					wrong = append(wrong, fmt.Sprintf("%s: %s is %v", a.Name, path, got))
				}
			}
		}
		for _, b := range s.of("Microsoft.Storage/storageAccounts/blobServices") {
			if at(b.Properties, "deleteRetentionPolicy.enabled") != true || at(b.Properties, "containerDeleteRetentionPolicy.enabled") != true {
				wrong = append(wrong, b.Name+" has no soft delete")
			}
		}
		if at(s.one("Microsoft.Insights/components").Properties, "DisableLocalAuth") != true {
			wrong = append(wrong, "Application Insights takes keys")
		}
		return wrong
	},

	"site": func(s *snapshot, _ string) (wrong []string) {
		site := s.one("Microsoft.Web/sites")
		for path, want := range map[string]any{"httpsOnly": true, "clientAffinityEnabled": false, "publicNetworkAccess": "Enabled", "siteConfig.minTlsVersion": "1.2", "siteConfig.http20Enabled": true} {
			if got := at(site.Properties, path); got != want {
				wrong = append(wrong, fmt.Sprintf("%s is %v", path, got))
			}
		}
		if at(site.Identity, "type") != "UserAssigned" {
			wrong = append(wrong, "the site has not the identity that has the roles")
		}
		if p := s.one("Microsoft.Web/sites/basicPublishingCredentialsPolicies"); !strings.HasSuffix(p.Name, "/scm") || at(p.Properties, "allow") != false {
			wrong = append(wrong, "it can be deployed with a password")
		}
		origins, _ := at(site.Properties, "siteConfig.cors.allowedOrigins").([]any)
		for _, origin := range origins {
			if !regexp.MustCompile(`^https?://[^/*]+$`).MatchString(fmt.Sprint(origin)) {
				wrong = append(wrong, fmt.Sprint("CORS has ", origin))
			}
		}
		return wrong
	},

	"settings": func(s *snapshot, _ string) (wrong []string) {
		set := settings(s)
		for _, known := range config.Settings {
			if family.MatchString(known.Name) {
				continue // of which there is one at least
			}
			_, there := set[known.Name]
			if want := known.Name != "TABLES_CONNECTION_STRING" && known.Name != "FUNCTIONS_CUSTOMHANDLER_PORT"; there != want {
				wrong = append(wrong, fmt.Sprintf("%s is set: %t", known.Name, there))
			}
		}
		if set["B2C_TENANT"] == nil && set["EXTERNAL_TENANT"] == nil && set["ENTRA_TENANT"] == nil {
			wrong = append(wrong, "no tenant is set")
		}
		for name := range set {
			isHosts := strings.HasPrefix(name, "AzureWebJobsStorage__") || strings.HasPrefix(name, "APPLICATIONINSIGHTS_")
			if !isHosts && !slices.ContainsFunc(config.Settings, func(known config.Setting) bool { return known.Name == name }) {
				wrong = append(wrong, name+" is unknown to the handler")
			}
		}
		table := s.one("Microsoft.Storage/storageAccounts/tableServices/tables").Name
		if name := table[strings.LastIndex(table, "/")+1:]; name != set["ITEMS_TABLE"] || !regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{2,62}$`).MatchString(name) {
			wrong = append(wrong, fmt.Sprintf("the table is %s, and ITEMS_TABLE %v", name, set["ITEMS_TABLE"]))
		}
		return wrong
	},

	"network": func(s *snapshot, name string) (wrong []string) {
		access, endpoints := "Enabled", 0
		if name == "network" {
			access, endpoints = "Disabled", 4
		}
		for _, a := range s.of("Microsoft.Storage/storageAccounts") {
			if a.Properties["publicNetworkAccess"] != access {
				wrong = append(wrong, a.Name+" is reached from anywhere, or from nowhere")
			}
			if name != "network" {
				continue
			}
			if at(a.Properties, "networkAcls.defaultAction") != "Deny" {
				wrong = append(wrong, a.Name+" does not deny by default")
			}
			for _, kind := range []string{"blob", "table"} {
				if !strings.Contains(s.text, `"name": "pe-`+a.Name+"-"+kind+`"`) || !strings.Contains(s.text, "/privateEndpoints/pe-"+a.Name+"-"+kind+"/privateDnsZoneGroups/") {
					wrong = append(wrong, "no private endpoint with a name in DNS for the "+kind+"s of "+a.Name)
				}
			}
		}
		if n := len(s.of("Microsoft.Network/privateEndpoints")); n != endpoints {
			wrong = append(wrong, fmt.Sprint(n, " private endpoints"))
		}
		joined := strings.HasSuffix(fmt.Sprint(s.one("Microsoft.Web/sites").Properties["virtualNetworkSubnetId"]), "/subnets/site")
		if joined != (name == "network") {
			wrong = append(wrong, "the site has not joined its network")
		}
		return wrong
	},

	"names": func(s *snapshot, _ string) (wrong []string) {
		for _, r := range s.Resources {
			limit := map[string]int{"Microsoft.Storage/storageAccounts": 24, "Microsoft.Web/sites": 60, "Microsoft.Resources/resourceGroups": 90}[r.Type]
			if limit > 0 && len(r.Name) > limit {
				wrong = append(wrong, r.Name+" is too long")
			}
		}
		return wrong
	},
}

// family is how the settings of a tenant begin.
var family = regexp.MustCompile("^(B2C|EXTERNAL|ENTRA)_")

func settings(s *snapshot) map[string]any {
	return s.one("Microsoft.Web/sites/config").Properties
}

func TestSnapshots(t *testing.T) {
	for _, name := range cases {
		s := load(t, name)
		for _, check := range slices.Sorted(maps.Keys(checks)) {
			require.Empty(t, checks[check](s, name), "%s: %s", name, check)
		}
	}
	prod := load(t, "prod")
	site := prod.one("Microsoft.Web/sites")
	require.Equal(t, []any{map[string]any{"name": "http", "instanceCount": 2.0}}, at(site.Properties, "functionAppConfig.scaleAndConcurrency.alwaysReady"))
	require.Equal(t, true, prod.one("Microsoft.Web/serverfarms").Properties["zoneRedundant"])
	for _, a := range prod.of("Microsoft.Storage/storageAccounts") {
		require.Equal(t, "Standard_ZRS", a.SKU.Name)
	}
	require.Equal(t, []any{"https://app.contoso.com", "https://admin.contoso.com"}, at(site.Properties, "siteConfig.cors.allowedOrigins"))
	require.Len(t, prod.of("Microsoft.Insights/scheduledQueryRules"), 5)
}

// A mistake of each kind is found by the check that is for it.
func TestPlantedMistakes(t *testing.T) {
	for _, tt := range []struct{ name, check, old, replacement string }{
		{"dev", "no secrets", `"LOG_LEVEL": "info"`, `"LOG_LEVEL": "[listKeys('x','y').keys[0].value]"`},
		{"dev", "no secrets", `"AZURE_LOCATION": `, `"STORAGE_CONNECTION": "x", "AZURE_LOCATION": `},
		{"dev", "roles", "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"},
		{"dev", "roles", "/tableServices/default/tables/" + config.Collection + "/providers/Microsoft.Authorization", "/providers/Microsoft.Authorization"},
		{"dev", "roles", `.principalId]"`, `.clientId]"`},
		{"dev", "runtime", `"name": "custom"`, `"name": "custm"`},
		{"dev", "what Flex refuses", `"http20Enabled": true`, `"http20Enabled": true, "ftpsState": "Disabled"`},
		{"dev", "what Flex refuses", `"LOG_LEVEL": "info"`, `"FUNCTIONS_WORKER_RUNTIME": "custom"`},
		{"dev", "what Flex refuses", `"FC1"`, `"Y1"`},
		{"dev", "host storage", `/app-package"`, `/another"`},
		{"dev", "host storage", `"AzureWebJobsStorage__clientId"`, `"AzureWebJobsStorage__client"`},
		{"dev", "azd", `"azd-service-name": "api"`, `"azd-service-name": "app"`},
		{"dev", "azd", `"SERVICE_API_URI"`, `"API_URI"`},
		{"dev", "storage is locked", `"allowSharedKeyAccess": false`, `"allowSharedKeyAccess": true`},
		{"dev", "storage is locked", `"DisableLocalAuth": true`, `"DisableLocalAuth": false`},
		{"dev", "site", `"httpsOnly": true`, `"httpsOnly": false`},
		{"dev", "site", `"allow": false`, `"allow": true`},
		{"prod", "site", `"https://app.contoso.com"`, `"*"`},
		{"network", "settings", `"ENTRA_TENANT"`, `"ENTRA_HOST"`},
		{"dev", "settings", `"AUTH_EXPLAIN"`, `"AUTH_EXPLANE"`},
		{"dev", "settings", `"ITEMS_TABLE": "` + config.Collection + `"`, `"ITEMS_TABLE": "another"`},
		{"dev", "network", `"publicNetworkAccess": "Enabled",` + "\n" + `        "networkAcls"`, `"publicNetworkAccess": "Disabled",` + "\n" + `        "networkAcls"`},
		{"network", "network", `"publicNetworkAccess": "Disabled"`, `"publicNetworkAccess": "Enabled"`},
		{"network", "network", `"defaultAction": "Deny"`, `"defaultAction": "Allow"`},
		{"network", "network", `/subnets/site"`, `/subnets/endpoints"`},
		{"dev", "names", `"name": "sthost`, `"name": "sthostsomethingfartoolong`},
	} {
		text := load(t, tt.name).text
		require.Contains(t, text, tt.old, "nothing to break for %s", tt.check)
		broken := parse(t, strings.ReplaceAll(text, tt.old, tt.replacement))
		require.NotEmpty(t, checks[tt.check](broken, tt.name), "%s: %s instead of %s is not found", tt.check, tt.replacement, tt.old)
	}
}

// Neither the compiler nor a snapshot tells the order; main.bicep does.
func TestSiteComesAfterItsRoles(t *testing.T) {
	text, err := os.ReadFile("main.bicep")
	require.NoError(t, err)
	_, api, found := strings.Cut(string(text), "module api ")
	require.True(t, found)
	api, _, _ = strings.Cut(api, "\nmodule ")
	require.Regexp(t, `dependsOn: \[[^\]]*\broles\b[^\]]*\]`, api)
}

// parameters are the values in main.parameters.json, with the variables in them that
// azd fills in.
func parameters(t *testing.T) map[string]string {
	text, err := os.ReadFile("main.parameters.json")
	require.NoError(t, err)
	var file struct {
		Parameters map[string]struct{ Value json.RawMessage }
	}
	require.NoError(t, json.Unmarshal(text, &file))
	values := map[string]string{}
	for name, parameter := range file.Parameters {
		values[name] = string(parameter.Value)
	}
	return values
}

var variable = regexp.MustCompile(`\$\{(\w+)`)

// variables are those that azd fills in.
func variables(t *testing.T) (names []string) {
	for _, value := range parameters(t) {
		for _, m := range variable.FindAllStringSubmatch(value, -1) {
			names = append(names, m[1])
		}
	}
	require.Greater(t, len(names), 15)
	return names
}

// What azd fills in is named as main.bicep has it, and required where it has no
// default. It is a string: of any other type azd drops a value that it cannot read,
// and deploys the default without a word.
func TestParameters(t *testing.T) {
	values := parameters(t)
	source, err := os.ReadFile("main.bicep")
	require.NoError(t, err)
	types := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^param (\w+) (\w+)( =)?`).FindAllStringSubmatch(string(source), -1) {
		types[m[1]] = m[2]
		if m[3] == "" {
			require.Contains(t, values, m[1])
		}
	}
	for name, value := range values {
		require.Contains(t, types, name)
		if strings.HasPrefix(value, `"`) {
			require.Equal(t, "string", types[name], name)
		}
	}
}

// azd takes from the shell, and from a runner, what its environment lacks, so each
// name is one that nobody sets for another purpose. The README explains each.
func TestVariables(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, name := range variables(t) {
		if name == "AZURE_ENV_NAME" || name == "AZURE_LOCATION" { // azd's own
			continue
		}
		if !family.MatchString(name) {
			require.Regexp(t, `^API_`, name)
		}
		require.Contains(t, string(readme), "`"+name+"`")
	}
	var known, passed []string
	for _, s := range config.Settings {
		if family.MatchString(s.Name) {
			known = append(known, s.Name)
		}
	}
	for _, name := range variables(t) {
		if family.MatchString(name) {
			passed = append(passed, name)
		}
	}
	require.ElementsMatch(t, known, passed, "every setting of a tenant can be deployed")
}

// azd pipeline config looks for the workflow by its name, and where it is missing
// offers to add one of its own. A runner has no azd environment, so a variable that
// the workflow does not pass would be deployed with its default at each push.
func TestWorkflow(t *testing.T) {
	files, err := filepath.Glob("../.github/workflows/*")
	require.NoError(t, err)
	var deploying []string
	var text []byte
	for _, name := range files {
		read, err := os.ReadFile(name)
		require.NoError(t, err)
		if regexp.MustCompile(`azd (up|provision|deploy)`).Match(read) {
			deploying, text = append(deploying, filepath.Base(name)), read
		}
	}
	require.Equal(t, []string{"azure-dev.yml"}, deploying)

	var workflow struct {
		Jobs map[string]struct{ Env map[string]string }
	}
	require.NoError(t, yaml.Unmarshal(text, &workflow))
	require.Len(t, workflow.Jobs, 1)
	env := workflow.Jobs["deploy"].Env
	// azd reads it by ParseBool, and leaves the feature off at another word.
	on, err := strconv.ParseBool(env["AZD_ALPHA_ENABLE_LANGUAGE_CUSTOM"])
	require.NoError(t, err)
	require.True(t, on)
	delete(env, "AZD_ALPHA_ENABLE_LANGUAGE_CUSTOM")

	want := map[string]string{}
	for _, name := range append(variables(t), "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID") {
		want[name] = "${{ vars." + name + " }}"
	}
	require.Equal(t, want, env)
}

// compiler is Bicep, where it is on PATH. Each run takes seconds.
func compiler(t *testing.T) (run func(args ...string) (string, error)) {
	if testing.Short() {
		t.Skip("skipped: Bicep (-short)")
	}
	bicep, err := exec.LookPath("bicep")
	if err != nil {
		t.Skip("skipped: Bicep (no bicep on PATH)")
	}
	return func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), bicep, args...).CombinedOutput()
		return string(out), err
	}
}

// scope is where a snapshot is taken to be deployed.
var scope = []string{
	"--subscription-id", "00000000-0000-0000-0000-000000000001", "--tenant-id", "00000000-0000-0000-0000-000000000002",
	"--location", "westeurope", "--deployment-name", "main",
}

// predict fills an environment into main.parameters.json as azd does, by the same
// library, and has Bicep say what would be created.
func predict(t *testing.T, bicep func(args ...string) (string, error), env map[string]string) (*snapshot, error) {
	folder := t.TempDir()
	text := fmt.Sprintf("using '%s'\n", mainFrom(t, folder))
	for name, value := range parameters(t) {
		filled, err := envsubst.Eval(value, func(variable string) string { return env[variable] })
		require.NoError(t, err)
		// any: what is wrong is for the deployment to refuse, as it never sees this file.
		text += fmt.Sprintf("param %s = any(json('''%s'''))\n", name, filled)
	}
	file := filepath.Join(folder, "azd.bicepparam")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	if said, err := bicep(append([]string{"snapshot", file, "--mode", "overwrite"}, scope...)...); err != nil {
		return nil, errors.New(said)
	}
	predicted, err := os.ReadFile(filepath.Join(folder, "azd.snapshot.json"))
	require.NoError(t, err)
	return parse(t, string(predicted)), nil
}

// environment is what register writes into a new one; it makes the case dev.
func environment(more map[string]string) map[string]string {
	env := map[string]string{
		"AZURE_ENV_NAME": "dev", "AZURE_LOCATION": "westeurope",
		"B2C_TENANT": "contoso", "B2C_POLICIES": "B2C_1_signupsignin,B2C_1_profileedit",
		"B2C_API_CLIENT_ID":   "ecfb57af-c76a-49a0-b48f-37311846956f",
		"B2C_APP_ID_URI":      "https://contoso.onmicrosoft.com/b2capi",
		"B2C_ALLOWED_CLIENTS": "47840c35-e986-468b-8d2c-e25aa02d3d08",
	}
	maps.Copy(env, more)
	return env
}

// Every variable arrives where it belongs. One that is not set, or is empty as in a
// workflow, is the default. What a shell has for other programs is left out.
func TestEnvironment(t *testing.T) {
	bicep := compiler(t)
	s, err := predict(t, bicep, environment(map[string]string{
		"ITEMS_TABLE": "other", "AUTH_EXPLAIN": "code", "LOG_LEVEL": "debug", // a shell's
	}))
	require.NoError(t, err)
	want, got := load(t, "dev"), s
	for name, value := range settings(got) {
		if value == "" { // counts as not set
			require.Regexp(t, family, name)
			delete(settings(got), name)
		}
	}
	require.Equal(t, settings(want), settings(got))
	for i := range want.Resources {
		require.Equal(t, want.Resources[i], got.Resources[i])
	}
	require.Equal(t, len(want.Resources), len(got.Resources))

	s, err = predict(t, bicep, environment(map[string]string{"API_PRIVATE_NETWORK": "true"}))
	require.NoError(t, err)
	require.Empty(t, checks["network"](s, "network"))

	env := map[string]string{"AZURE_ENV_NAME": "all", "AZURE_LOCATION": "westeurope"}
	for _, name := range variables(t) {
		if family.MatchString(name) {
			env[name] = "the value of " + name
		}
	}
	maps.Copy(env, map[string]string{
		"API_ITEMS_TABLE": "orders", "API_APPLICATIONS": "accept", "API_AUTH_EXPLAIN": "code", "API_LOG_LEVEL": "warn",
		"API_CALLER_CONCURRENCY": "16", "API_CALLER_RATE": "5",
		"API_CORS_ORIGINS": "https://app.contoso.com", "API_ALERT_EMAIL": "operator@contoso.com", "API_PRIVATE_NETWORK": "false",
	})
	require.ElementsMatch(t, variables(t), slices.Collect(maps.Keys(env)))
	s, err = predict(t, bicep, env)
	require.NoError(t, err)
	for _, known := range config.Settings {
		for _, name := range []string{known.Name, "API_" + known.Name} {
			if want, there := env[name]; there {
				require.Equal(t, want, settings(s)[known.Name], name)
			}
		}
	}
	require.Equal(t, []any{"https://app.contoso.com"}, origins(s))
	require.Contains(t, s.text, `"emailAddress": "operator@contoso.com"`)
	require.Empty(t, s.of("Microsoft.Network/virtualNetworks"))
}

func origins(s *snapshot) any {
	return at(s.one("Microsoft.Web/sites").Properties, "siteConfig.cors.allowedOrigins")
}

// Origins are what is left without spaces and empty parts, and the list is sent when it
// is empty, too.
func TestOrigins(t *testing.T) {
	bicep := compiler(t)
	for given, want := range map[string][]any{
		" , ,": {},
		"https://a.example, ,https://b.example:8443,http://localhost:9912": {
			"https://a.example", "https://b.example:8443", "http://localhost:9912",
		},
	} {
		s, err := predict(t, bicep, environment(map[string]string{"API_CORS_ORIGINS": given}))
		require.NoError(t, err)
		require.Equal(t, want, origins(s), given)
	}
}

// A mistake stops the deployment before anything is created, and all are said at once.
func TestStops(t *testing.T) {
	bicep := compiler(t)
	bad := []string{"*", "https://*.contoso.com", "https://app.contoso.com/", "https://a/b", "app.contoso.com", "null", "https://a b"}
	for _, tt := range []struct {
		env  map[string]string
		says []string
	}{
		{
			map[string]string{
				"B2C_POLICIES": "", "B2C_API_CLIENT_ID": "", "EXTERNAL_TENANT": "contoso", "ENTRA_READ_SCOPE": "read",
				"API_CORS_ORIGINS": "https://x.example," + strings.Join(bad, ","),
			},
			[]string{
				"B2C_TENANT is set, but B2C_POLICIES is not; B2C_TENANT is set, but B2C_API_CLIENT_ID is not; ",
				"EXTERNAL_TENANT is set, but EXTERNAL_API_CLIENT_ID is not; ",
				"ENTRA_READ_SCOPE is set, but ENTRA_TENANT is not; ",
				"API_CORS_ORIGINS has " + strings.Join(bad, "; an origin is scheme and host, as https://app.contoso.com, "+
					"without * and without a slash at its end; API_CORS_ORIGINS has "),
			},
		},
		{
			map[string]string{"B2C_TENANT": "", "EXTERNAL_HOST": "login.contoso.com", "ENTRA_ALLOWED_CLIENTS": "x"},
			[]string{
				"no tenant is set: one of EXTERNAL_TENANT, ENTRA_TENANT and B2C_TENANT",
				"B2C_API_CLIENT_ID is set, but B2C_TENANT is not", "EXTERNAL_HOST is set, but EXTERNAL_TENANT is not",
				"ENTRA_ALLOWED_CLIENTS is set, but ENTRA_TENANT is not",
			},
		},
		{map[string]string{"ENTRA_TENANT": "contoso.com"}, []string{"ENTRA_TENANT is set, but ENTRA_API_CLIENT_ID is not"}},
		{map[string]string{"API_ITEMS_TABLE": "ab"}, []string{"itemsTable"}},
	} {
		_, err := predict(t, bicep, environment(tt.env))
		for _, says := range tt.says {
			require.ErrorContains(t, err, says)
		}
		require.NotContains(t, err.Error(), "https://x.example;")
	}
}

// A word that is not in its list stops the deployment, too.
func TestWrongWords(t *testing.T) {
	closed := []string{"API_PRIVATE_NETWORK", "API_APPLICATIONS", "API_AUTH_EXPLAIN", "API_LOG_LEVEL"}
	source, err := os.ReadFile("main.bicep")
	require.NoError(t, err)
	require.Equal(t, len(closed), strings.Count(string(source), "@allowed("), "a list without a test, or the reverse")
	bicep := compiler(t)
	for _, name := range closed {
		_, err := predict(t, bicep, environment(map[string]string{name: "yes"}))
		require.ErrorContains(t, err, "The value 'yes' is not part of the allowed value(s)", name)
	}
}

// And so does a size that cannot be.
func TestScaleStops(t *testing.T) {
	bicep := compiler(t)
	for _, tt := range []struct {
		scale string
		says  []string
	}{
		{
			"{\nmemory: 1024\nmaximumInstances: 0\nalwaysReady: -1\nconcurrency: 5000\nzones: true\n}",
			[]string{"(6,9) : Error BCP036", "(7,19) : Error BCP328", "(8,14) : Error BCP328", "(9,14) : Error BCP327"},
		},
		{
			"{\nmemory: 512\nmaximumInstances: 100\nalwaysReady: 101\nconcurrency: 0\nzones: false\n}",
			[]string{"scale has more alwaysReady than maximumInstances"},
		},
	} {
		folder := t.TempDir()
		text := "using '" + mainFrom(t, folder) + "'\nparam environmentName = 'x'\nparam location = 'x'\n" +
			"param signIn = { ENTRA_TENANT: 'contoso.com', ENTRA_API_CLIENT_ID: 'x' }\nparam scale = " + tt.scale + "\n"
		name := filepath.Join(folder, "mistake.bicepparam")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
		said, err := bicep(append([]string{"snapshot", name, "--mode", "overwrite"}, scope...)...)
		require.Error(t, err)
		for _, says := range tt.says {
			require.Contains(t, said, says)
		}
	}
}

// mainFrom is the path of main.bicep as a file in folder spells it.
func mainFrom(t *testing.T, folder string) string {
	main, err := filepath.Abs("main.bicep")
	require.NoError(t, err)
	main, err = filepath.Rel(folder, main)
	require.NoError(t, err)
	return filepath.ToSlash(main)
}

// TestCompiler has Bicep itself judge, and say whether the snapshots are current.
func TestCompiler(t *testing.T) {
	bicep := compiler(t)
	run := func(args ...string) string {
		out, err := bicep(args...)
		require.NoError(t, err, "bicep %v: %s", args, out)
		return out
	}
	formatted := t.TempDir()
	require.NoError(t, os.CopyFS(formatted, os.DirFS(".")))
	run("format", "--pattern", filepath.Join(formatted, "**", "*.bicep"))
	run("format", "--pattern", filepath.Join(formatted, "tests", "*.bicepparam"))
	looked := 0
	for _, pattern := range []string{"*.bicep", "modules/*.bicep", "tests/*.bicepparam"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range found {
			before, err := os.ReadFile(name)
			require.NoError(t, err)
			after, err := os.ReadFile(filepath.Join(formatted, name))
			require.NoError(t, err)
			require.True(t, bytes.Equal(before, after), "bicep format changes %s", name)
			looked++
		}
	}
	require.Greater(t, looked, 10)
	// It lints as it builds.
	require.Empty(t, notOfAge(run("build", "main.bicep", "--no-restore", "--outfile", filepath.Join(formatted, "main.json"))))
	for _, name := range cases {
		run(append([]string{"snapshot", filepath.Join("tests", name+".bicepparam"), "--mode", "validate"}, scope...)...)
	}
}

// notOfAge takes out what only the calendar makes the compiler say: that an API
// version is old. Nobody's check turns red on a day when nothing was changed.
func notOfAge(said string) string {
	return regexp.MustCompile(`(?m)^.* Warning use-recent-api-versions: .*\n?`).ReplaceAllString(said, "")
}
