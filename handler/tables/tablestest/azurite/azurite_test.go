package azurite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/tables/tablestest/azurite"
)

// TestMain runs the program that TestEndsWithItsParent kills.
func TestMain(m *testing.M) {
	if os.Getenv("AZURITE_PARENT") == "" {
		os.Exit(m.Run())
	}
	s, err := azurite.Start(context.Background(), azurite.Options{})
	if errors.Is(err, azurite.ErrNotInstalled) {
		fmt.Println("none")
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Addr())
	select {}
}

func start(t *testing.T, o azurite.Options) *azurite.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := azurite.Start(ctx, o)
	skipWithout(t, err)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// skipWithout skips a test on machines without Azurite, except where CI wants all tests.
func skipWithout(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, azurite.ErrNotInstalled) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
}

func table(t *testing.T, s *azurite.Server) *aztables.Client {
	t.Helper()
	service, err := aztables.NewServiceClientFromConnectionString(s.ConnectionString(), nil)
	require.NoError(t, err)
	return service.NewClient("items")
}

func TestItemsSurviveClose(t *testing.T) {
	dir := t.TempDir()
	s := start(t, azurite.Options{Dir: dir})
	_, err := table(t, s).CreateTable(t.Context(), nil)
	require.NoError(t, err)
	_, err = table(t, s).AddEntity(t.Context(), []byte(`{"PartitionKey":"p","RowKey":"r","name":"kept"}`), nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "again")

	s = start(t, azurite.Options{Dir: dir})
	e, err := table(t, s).GetEntity(t.Context(), "p", "r", nil)
	require.NoError(t, err)
	require.Contains(t, string(e.Value), `"name":"kept"`)
}

func TestMemoryKeepsNothing(t *testing.T) {
	s := start(t, azurite.Options{})
	_, err := table(t, s).CreateTable(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s = start(t, azurite.Options{Addr: s.Addr()})
	_, err = table(t, s).CreateTable(t.Context(), nil)
	require.NoError(t, err, "the table is gone")
}

func TestCloseEndsTheProcess(t *testing.T) {
	s := start(t, azurite.Options{})
	require.NoError(t, s.Close())
	select {
	case <-s.Done():
	default:
		require.Fail(t, "Close returned before the process ended")
	}
	_, err := net.Dial("tcp", s.Addr())
	require.Error(t, err)
}

func TestOutput(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	s := start(t, azurite.Options{Output: func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	}})
	mu.Lock()
	defer mu.Unlock()
	require.Contains(t, strings.Join(lines, "\n"), s.Addr())
}

func TestBusyPortIsNamed(t *testing.T) {
	first := start(t, azurite.Options{})
	_, err := azurite.Start(t.Context(), azurite.Options{Addr: first.Addr()})
	require.ErrorContains(t, err, first.Addr())
	require.ErrorContains(t, err, "EADDRINUSE")
}

func TestGivenUpStartLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := azurite.Start(ctx, azurite.Options{})
	skipWithout(t, err)
	require.ErrorIs(t, err, context.Canceled)
}

func TestNotInstalled(t *testing.T) {
	_, err := azurite.Start(t.Context(), azurite.Options{NodeModules: t.TempDir()})
	require.ErrorIs(t, err, azurite.ErrNotInstalled)
	require.ErrorContains(t, err, "npm ci --prefix handler/tables/tablestest/azurite")
}

func TestOnlyLoopback(t *testing.T) {
	_, err := azurite.Start(t.Context(), azurite.Options{Addr: "0.0.0.0:10002"})
	require.ErrorContains(t, err, "loopback")
}

func TestEndsWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a child with its parent")
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "AZURITE_PARENT=1")
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	addr := lines.Text()
	if addr == "none" {
		_ = parent.Wait()
		skipWithout(t, azurite.ErrNotInstalled)
		require.NoError(t, azurite.ErrNotInstalled)
	}
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err, addr)
	require.NoError(t, conn.Close())

	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return true
		}
		conn.Close()
		return false
	}, 10*time.Second, 20*time.Millisecond)
}
