// Command bench shows how fast the handler is, as ratios against a floor that is
// measured in the same run:
//
//	go run ./scripts/bench
//
// A machine's speed drifts, so floor and handler are measured in turn, several
// times, and the smallest figure of each counts. Last come whole processes: the
// handler beside a peer that is written the straightforward way (package plain),
// and beside the handler of an earlier commit (-against). It ends with status 1
// if a figure is over its limit. It is not part of the tests: a noisy machine
// must not fail them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	rounds := flag.Int("rounds", 8, "how often floor and handler are measured in turn")
	against := flag.String("against", "", "an earlier `COMMIT` whose handler is measured, too")
	only := flag.Bool("processes", false, "measure the whole processes alone")
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, "Usage: go run ./scripts/bench [flags]\n\n",
			"Measures the handler against floors of the same run.\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(ctx, *rounds, *against, *only); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// report collects figures and whether they keep their limits.
type report struct{ over int }

func (r *report) line(what string, value float64, unit string, limit float64) {
	r.print(what, value, unit, "limit", limit, value > limit)
}

// least is a line whose figure is to be at least so much.
func (r *report) least(what string, value float64, unit string, limit float64) {
	r.print(what, value, unit, "least", limit, value < limit)
}

func (r *report) print(what string, value float64, unit, kind string, limit float64, over bool) {
	verdict := "ok"
	if over {
		verdict = "OVER"
		r.over++
	}
	fmt.Printf("%-58s %9.2f %-8s %s %7.2f  %s\n", what, value, unit, kind, limit, verdict)
}

// verdict is an error if a figure is over its limit.
func (r *report) verdict() error {
	if r.over > 0 {
		return fmt.Errorf("%d figures are over their limit; on a busy machine try again", r.over)
	}
	return nil
}

func run(ctx context.Context, rounds int, against string, only bool) error {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Printf("%s %s/%s, %d CPUs, %d rounds\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
		rounds)
	r := &report{}
	if only {
		return errors.Join(processes(ctx, dir, against, rounds, r), r.verdict())
	}

	verify, err := benchmark(ctx, dir, "./handler/entra", "Verify", short, rounds)
	if err != nil {
		return err
	}
	floor := verify["floor"].ns
	r.line("verify a token that was seen before / its SHA-256", verify["seen"].ns/verify["hash"].ns, "times", 1.6)
	r.line("verify a token that was seen before, allocations", verify["seen"].allocs, "allocs", 1)
	r.line("verify a new token of B2C with a known key / bare RSA", verify["good"].ns/floor, "times", 1.15)
	r.line("verify a new one of External ID / bare RSA", verify["external"].ns/floor, "times", 1.15)
	r.line("verify a new one of Entra ID / bare RSA", verify["entra"].ns/floor, "times", 1.15)
	r.line("refuse a forged signature / verify a new good one", verify["forged"].ns/verify["good"].ns, "times", 1.1)
	r.line("refuse an unknown key ID / bare RSA", verify["unknown_kid"].ns/floor, "times", 0.1)
	r.line("refuse another service's token / bare RSA", verify["foreign"].ns/floor, "times", 0.1)
	r.line("refuse garbage / bare RSA", verify["garbage"].ns/floor, "times", 0.1)
	r.line("refuse garbage in three parts / bare RSA", verify["garbage_json"].ns/floor, "times", 0.1)

	explain, err := benchmark(ctx, dir, "./handler/entra", "Explain", short, rounds)
	if err != nil {
		return err
	}
	r.line("explain a refusal with three faults / bare RSA", explain["everything"].ns/floor, "times", 1)

	list, err := benchmark(ctx, dir, "./handler/server", "List", short, rounds)
	if err != nil {
		return err
	}
	r.line("list 100 items / decode and encode the same bytes", list["handler"].ns/list["floor"].ns, "times", 2)
	r.line("list 100 items, allocations", list["handler"].allocs, "allocs", 1500)

	create, err := benchmark(ctx, dir, "./handler/server", "Create", short, rounds)
	if err != nil {
		return err
	}
	r.line("create with an idempotency key / create without", create["key"].ns/create["plain"].ns, "times", 1.3)

	// A storage that is 8 ms away sets the pace, so this takes longer.
	caller, err := benchmark(ctx, dir, "./handler/tables", "OneCaller", once, min(rounds, 3))
	if err != nil {
		return err
	}
	second := func(name string) float64 { return 1e9 / caller[name].ns }
	fmt.Printf(
		"%-58s %9.2f changes a second\n",
		"one caller, storage 8 ms away: one at a time",
		second("one_at_a_time"),
	)
	r.least("64 at a time, on one instance", second("one_instance"), "a second", 1140)
	r.least("64 at a time, on four instances", second("four_instances"), "a second", 570)

	if err := startUp(ctx, dir, 3*rounds, r); err != nil {
		return err
	}
	if err := processes(ctx, dir, against, rounds, r); err != nil {
		return err
	}
	return r.verdict()
}

type figure struct{ ns, allocs float64 }

var benchLine = regexp.MustCompile(`(?m)^Benchmark\w+/(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op.*?([\d.]+) allocs/op`)

// runs are how long and how often a benchmark runs in a round.
type runs struct{ time, count string }

var (
	// Many short runs find a moment when the machine had nothing else to do, where a
	// long one does not.
	short = runs{"10ms", "10"}
	once  = runs{"2s", "1"}
)

// benchmark runs a package's benchmark several times and keeps the smallest figures.
func benchmark(ctx context.Context, dir, pkg, name string, run runs, rounds int) (map[string]figure, error) {
	binary := filepath.Join(dir, filepath.Base(pkg)+".test")
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, pkg).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the benchmark of %s: %w\n%s", pkg, err, out)
	}
	best := map[string]figure{}
	for range rounds {
		cmd := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.bench", "^Benchmark"+name+"$",
			"-test.benchtime", run.time, "-test.count", run.count)
		cmd.Dir = filepath.FromSlash(pkg)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("run the benchmark of %s: %w\n%s", pkg, err, out)
		}
		for _, m := range benchLine.FindAllStringSubmatch(string(out), -1) {
			ns, _ := strconv.ParseFloat(m[2], 64)
			allocs, _ := strconv.ParseFloat(m[3], 64)
			if f, ok := best[m[1]]; !ok || ns < f.ns {
				best[m[1]] = figure{ns, allocs}
			}
		}
	}
	if len(best) == 0 {
		return nil, fmt.Errorf("the benchmark of %s printed no figures", pkg)
	}
	return best, nil
}

// startUp measures from exec to the first answered GET /, the handler as it
// ships against a bare net/http program, and the handler's size and idle memory.
func startUp(ctx context.Context, dir string, rounds int, r *report) error {
	for pkg, name := range map[string]string{"./handler": "handler", "./scripts/bench/testdata/bare": "bare"} {
		if err := build(ctx, ".", pkg, filepath.Join(dir, name+".exe")); err != nil {
			return err
		}
	}
	best := map[string]time.Duration{"handler": math.MaxInt64, "bare": math.MaxInt64}
	var memory float64
	for round := range rounds {
		for _, name := range []string{"bare", "handler"} {
			took, rss, err := startOnce(ctx, filepath.Join(dir, name+".exe"), round == 0)
			if err != nil {
				return fmt.Errorf("start %s: %w", name, err)
			}
			best[name] = min(best[name], took)
			if name == "handler" && rss > 0 {
				memory = rss
			}
		}
	}
	r.line("exec to the first answer / bare net/http program", float64(best["handler"])/float64(best["bare"]), "times",
		1.6)
	if memory > 0 {
		r.line("idle memory", memory/(1<<20), "MiB", 12)
	}
	info, err := os.Stat(filepath.Join(dir, "handler.exe"))
	if err != nil {
		return err
	}
	r.line("bin/handler, stripped", float64(info.Size())/1e6, "MB", 12)
	fmt.Printf("\n(exec to the first answer: handler %s, bare %s)\n", best["handler"].Round(10*time.Microsecond),
		best["bare"].Round(10*time.Microsecond))
	return nil
}

// build builds a program as it is deployed.
func build(ctx context.Context, source, pkg, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, pkg)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

func startOnce(ctx context.Context, path string, measureMemory bool) (took time.Duration, rss float64, err error) {
	port, err := freePort()
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{
		"FUNCTIONS_CUSTOMHANDLER_PORT=" + port,
		"B2C_TENANT=contoso", "B2C_POLICIES=B2C_1_signupsignin",
		"B2C_API_CLIENT_ID=ecfb57af-c76a-49a0-b48f-37311846956f",
		// Nobody listens there: a start waits for neither keys nor storage.
		"B2C_METADATA_URL=http://127.0.0.1:1/{policy}",
		"TABLES_CONNECTION_STRING=AccountName=devstoreaccount1;AccountKey=eA==;" +
			"TableEndpoint=http://127.0.0.1:1/devstoreaccount1",
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		resp, err := client.Get("http://127.0.0.1:" + port + "/")
		if err == nil {
			resp.Body.Close()
			took = time.Since(start)
			break
		}
		if time.Since(start) > 20*time.Second {
			return 0, 0, fmt.Errorf("no answer: %w", err)
		}
		time.Sleep(100 * time.Microsecond)
	}
	if measureMemory {
		time.Sleep(time.Second) // what idles after a start
		rss = residentMemory(cmd.Process.Pid)
	}
	return took, rss, nil
}

// residentMemory is a process's resident memory in bytes, or 0 where /proc does
// not tell.
func residentMemory(pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kib * 1024
		}
	}
	return 0
}
