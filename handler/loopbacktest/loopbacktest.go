// Package loopbacktest keeps the stand-ins on this machine: it listens on
// loopback and nowhere else, and tells a Host header that means this machine
// from one that a web page has pointed at it. For tests and local runs.
package loopbacktest

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Listen listens on a loopback address; any other is an error. "" means a free
// port of 127.0.0.1. "localhost:PORT" means 127.0.0.1 and, where the machine has
// it, ::1 with the same port, since clients try either.
func Listen(addr string) ([]net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(host, "localhost") {
		if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("%s is not a loopback address; use localhost:%s", addr, port)
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, err
		}
		return []net.Listener{l}, nil
	}
	// With port 0 the system's choice for one family may be taken in the other.
	for try := 1; ; try++ {
		four, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			return nil, err
		}
		probe, err := net.Listen("tcp6", "[::1]:0")
		if err != nil {
			return []net.Listener{four}, nil // no IPv6 here
		}
		probe.Close()
		six, err := net.Listen("tcp6", net.JoinHostPort("::1", strconv.Itoa(Port(four))))
		if err == nil {
			return []net.Listener{four, six}, nil
		}
		four.Close()
		if port != "0" || try == 10 {
			return nil, err
		}
	}
}

// Port is the port of a TCP listener.
func Port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// IsLoopback says whether host, with or without a port, is localhost or a
// loopback address. A server on loopback that answers to other names can be
// reached by any web page whose name resolves to 127.0.0.1.
func IsLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}
