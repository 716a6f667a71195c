package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/tables/tablestest"
)

// This file measures whole processes: the CPU that each takes for a request, by /proc,
// with the same token, the same storage and the same requests in turn. What the machine
// does besides, this program and the stand-ins included, is not counted.

const (
	connections = 8     // as the host has a few
	kept        = 150   // items of the caller before anything is measured
	loaded      = 100e3 // requests, after which memory is looked at
)

// process is a program that serves the items.
type process struct {
	name string
	url  string
	cmd  *exec.Cmd
	cpu  map[string]time.Duration // smallest for a request, by the request's name
	item string                   // path of one
	sent int
}

// request is one kind of request that all processes get.
type request struct {
	name   string
	path   string // empty: that of one item
	token  string
	gzip   bool
	body   string // of a POST
	status int
	alone  bool // is not sent to the plain peer, which knows nothing of the kind
}

// processes measures the handler against the plain peer, and against the handler of an
// earlier commit if there is one.
func processes(ctx context.Context, dir, against string, rounds int, r *report) error {
	if _, err := taskTime(os.Getpid()); err != nil {
		fmt.Printf("left out, as it takes /proc: CPU of a request beside the plain peer (%v)\n", err)
		return nil
	}
	signIn, err := entratest.Start(entratest.Options{AccessTokenLifetime: 24 * time.Hour})
	if err != nil {
		return err
	}
	defer signIn.Close()
	storage, err := tablestest.Start(tablestest.Options{})
	if err != nil {
		return err
	}
	defer storage.Close()

	all := []*process{{name: "handler"}, {name: "plain"}}
	if against != "" {
		all = append(all, &process{name: against})
	}
	for _, p := range all {
		p.cpu = map[string]time.Duration{}
		if err := p.start(ctx, dir, signIn, storage); err != nil {
			return fmt.Errorf("start %s: %w", p.name, err)
		}
		defer p.stop()
	}

	token := signIn.Token("alice")
	claims := signIn.Claims(entratest.TokenRequest{})
	unknown := signIn.Sign(entratest.PolicySignUpSignIn, map[string]any{"kid": strings.Repeat("k", 43)}, claims)
	const draft = `{"name":"Milk, and whatever else is missing","properties":{"shop":"corner","count":2,"urgent":true}}`
	for _, p := range all {
		if err := p.fill(ctx, token, draft); err != nil {
			return fmt.Errorf("fill %s: %w", p.name, err)
		}
	}
	requests := []request{
		{name: "one item", token: token, status: 200},
		{name: "list of 20", path: "?limit=20", token: token, status: 200},
		{name: "list of 20 with gzip", path: "?limit=20", token: token, gzip: true, status: 200, alone: true},
		{name: "list of 100", path: "?limit=100", token: token, status: 200},
		{name: "list of 100 with gzip", path: "?limit=100", token: token, gzip: true, status: 200, alone: true},
		{name: "create", path: "/", token: token, body: draft, status: 201},
		{name: "no token", path: "?limit=20", status: 401},
		{name: "unknown key ID", path: "?limit=20", token: unknown, status: 401, alone: true},
		{name: "garbage", path: "?limit=20", token: strings.Repeat("x", len(token)), status: 401},
	}
	for range 3 * rounds { // short ones, to find quiet moments
		for _, what := range requests {
			for _, p := range all {
				if p.name == "plain" && what.alone {
					continue
				}
				if err := p.measure(ctx, what); err != nil {
					return fmt.Errorf("%s of %s: %w", what.name, p.name, err)
				}
			}
		}
	}

	handler, plain := all[0], all[1]
	fmt.Printf("\nCPU of a request in µs\n%-26s", "")
	for _, p := range all {
		fmt.Printf("%12s", p.name)
	}
	fmt.Println()
	for _, what := range requests {
		fmt.Printf("%-26s", what.name)
		for _, p := range all {
			if p.cpu[what.name] > 0 {
				fmt.Printf("%12.0f", float64(p.cpu[what.name].Nanoseconds())/1000)
			} else {
				fmt.Printf("%12s", "–")
			}
		}
		fmt.Println()
	}
	fmt.Println()
	compare := func(what string, of *process, to string, limit float64) {
		ratio := float64(handler.cpu[what]) / float64(of.cpu[to])
		named := fmt.Sprintf("CPU of %s / %s", what, of.name)
		if of == handler {
			named = fmt.Sprintf("CPU of %s / without", what)
		} else if to != what {
			named += " without"
		}
		r.line(named, ratio, "times", limit)
	}
	compare("one item", plain, "one item", 0.85)
	compare("list of 20 with gzip", handler, "list of 20", 1.5)
	compare("list of 100 with gzip", plain, "list of 100", 0.35)
	compare("create", plain, "create", 1.8)
	if against != "" {
		compare("list of 100", all[2], "list of 100", 0.75)
		compare("no token", all[2], "no token", 0.7)
	}
	for handler.sent < loaded {
		if err := handler.measure(ctx, requests[0]); err != nil {
			return fmt.Errorf("go on with the handler: %w", err)
		}
	}
	r.line("memory after 100,000 requests", residentMemory(handler.cmd.Process.Pid)/(1<<20), "MiB", 40)
	return nil
}

// start builds the program and waits until it serves.
func (p *process) start(ctx context.Context, dir string, signIn *entratest.Server, storage *tablestest.Server) error {
	binary, source, pkg := filepath.Join(dir, p.name+".process"), ".", "./handler"
	switch p.name {
	case "handler":
	case "plain":
		pkg = "./scripts/bench/plain"
	default:
		source = filepath.Join(dir, "source")
		for _, args := range [][]string{
			{"clone", "-q", "--shared", "--no-checkout", ".", source}, {"-C", source, "checkout", "-q", p.name},
		} {
			if out, err := exec.CommandContext(ctx, "git", args...).CombinedOutput(); err != nil {
				return fmt.Errorf("get its source: %w\n%s", err, out)
			}
		}
	}
	if err := build(ctx, source, pkg, binary); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	table := "a" + strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return -1
	}, p.name)
	metadata := strings.NewReplacer("{tenant}", entratest.TenantName, "{policy}", entratest.PolicySignUpSignIn).
		Replace(signIn.MetadataTemplate())
	p.url = "http://127.0.0.1:" + port
	p.cmd = exec.CommandContext(ctx, binary)
	p.cmd.Stdout, p.cmd.Stderr = io.MultiWriter(io.Discard), io.MultiWriter(io.Discard) // by pipes, as to the host
	p.cmd.Env = []string{
		"FUNCTIONS_CUSTOMHANDLER_PORT=" + port, "PORT=" + port,
		"B2C_TENANT=" + entratest.TenantName, "B2C_POLICIES=" + entratest.PolicySignUpSignIn,
		"B2C_API_CLIENT_ID=" + entratest.APIClientID, "B2C_APP_ID_URI=" + entratest.AppIDURI,
		"B2C_METADATA_URL=" + signIn.MetadataTemplate(), "CALLER_RATE=0",
		"TABLES_CONNECTION_STRING=" + storage.ConnectionString(), "ITEMS_TABLE=" + table, "TABLE=" + table,
		"JWKS_URL=" + strings.Replace(metadata, "/v2.0/.well-known/openid-configuration", "/discovery/v2.0/keys", 1),
		"ISSUER=" + signIn.Issuer(), "AUDIENCE=" + entratest.APIClientID,
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		resp, err := http.Get(p.url + "/")
		if err == nil {
			return resp.Body.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// fill has the caller keep items, and finds the path of one of them.
func (p *process) fill(ctx context.Context, token, draft string) error {
	for range kept {
		creation := request{path: "/", token: token, body: draft, status: http.StatusCreated}
		if _, err := p.send(ctx, http.DefaultClient, creation); err != nil {
			return err
		}
	}
	body, err := p.send(ctx, http.DefaultClient, request{path: "?limit=1", token: token, status: 200})
	if err != nil {
		return err
	}
	var page struct {
		Value []struct {
			ID string `json:"id"`
		} `json:"value"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return fmt.Errorf("read the list: %w", err)
	}
	if len(page.Value) != 1 {
		return errors.New("the list is empty")
	}
	p.item = "/" + page.Value[0].ID
	return nil
}

// measure sends a request many times, over a few connections, and keeps the smallest CPU
// that one took.
func (p *process) measure(ctx context.Context, what request) error {
	each := 25
	if what.status == http.StatusUnauthorized {
		each = 250 // a few ms, and their share of collecting garbage
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true}}
	defer client.CloseIdleConnections()
	send := func(n int) error {
		failed := make([]error, connections)
		var wg sync.WaitGroup
		for i := range connections {
			wg.Go(func() {
				for range n {
					if _, err := p.send(ctx, client, what); err != nil {
						failed[i] = err
						return
					}
				}
			})
		}
		wg.Wait()
		p.sent += connections * n
		return errors.Join(failed...)
	}
	if err := send(2); err != nil { // the connections are there
		return err
	}
	before, err := taskTime(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := send(each); err != nil {
		return err
	}
	after, err := taskTime(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	took := (after - before) / time.Duration(connections*each)
	if best, ok := p.cpu[what.name]; !ok || took < best {
		p.cpu[what.name] = took
	}
	return nil
}

func (p *process) send(ctx context.Context, client *http.Client, what request) ([]byte, error) {
	method, path, body := http.MethodGet, what.path, io.Reader(nil)
	switch {
	case what.body != "":
		method, path, body = http.MethodPost, "", strings.NewReader(what.body)
	case path == "":
		path = p.item
	}
	req, err := http.NewRequestWithContext(ctx, method, p.url+"/api/items"+path, body)
	if err != nil {
		return nil, err
	}
	if what.token != "" {
		req.Header.Set("Authorization", "Bearer "+what.token)
	}
	if what.gzip {
		req.Header.Set("Accept-Encoding", "gzip")
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != what.status || what.gzip != (resp.Header.Get("Content-Encoding") == "gzip") {
		return nil, fmt.Errorf("answered %s: %.200s", resp.Status, answer)
	}
	return answer, nil
}

// taskTime is the CPU that a process has taken, to the nanosecond. Go's threads stay, so
// none of it is lost with one.
func taskTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("no times of process %d in /proc", pid)
	}
	var sum time.Duration
	for _, name := range files {
		line, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		on, _, _ := strings.Cut(string(line), " ")
		ns, err := strconv.ParseInt(on, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", name, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
