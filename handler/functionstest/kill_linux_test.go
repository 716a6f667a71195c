package functionstest

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"itemsapi/handler/waittest"

	"github.com/stretchr/testify/require"
)

func TestAKilledHostLeavesNoHandler(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, plainApp(proxyMode).write(dir))
	r := recorder{filepath.Join(dir, "recorder")}
	require.NoError(t, os.Mkdir(r.dir, 0o700))
	require.NoError(t, r.write(script{}))

	host := exec.Command(os.Args[0])
	host.Env = append(os.Environ(), hostDir+"="+dir)
	host.Stderr = os.Stderr
	out, err := host.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, host.Start())
	port, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	handler := "127.0.0.1:" + strings.TrimSpace(port)
	c, err := net.Dial("tcp", handler)
	require.NoError(t, err, "the handler runs")
	defer c.Close()

	require.NoError(t, host.Process.Kill())
	require.Error(t, host.Wait())
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", handler)
		if err == nil {
			c.Close()
		}
		return err != nil
	}, 10*time.Second, 5*time.Millisecond, "the handler still runs")
}

func TestTheHandlersChildrenDieToo(t *testing.T) {
	for name, end := range map[string]string{"at Close": "wait", "after a crash": "exit 1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, plainApp(proxyMode).write(dir))
			children := filepath.Join(dir, "children")
			script := "#!/bin/sh\nsleep 600 &\necho $! >> " + children + "\n" + end + "\n"
			require.NoError(t, os.WriteFile(filepath.Join(dir, "handler.sh"), []byte(script), 0o700))
			h, err := Start(t.Context(), Config{Dir: dir, Executable: "handler.sh"})
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				text, _ := os.ReadFile(children)
				return strings.HasSuffix(string(text), "\n")
			}, 10*time.Second, 5*time.Millisecond)
			if end == "exit 1" {
				waittest.For(t, h.Done())
			}
			require.NoError(t, h.Close())
			text, err := os.ReadFile(children)
			require.NoError(t, err)
			for _, pid := range strings.Fields(string(text)) {
				require.Eventually(t, func() bool {
					// Gone, or dead and waiting for somebody to ask how it died.
					status, err := os.ReadFile("/proc/" + pid + "/stat")
					_, state, _ := strings.Cut(string(status), ") ")
					return err != nil || strings.HasPrefix(state, "Z")
				}, 10*time.Second, 5*time.Millisecond, "process %s still runs", pid)
			}
		})
	}
}
