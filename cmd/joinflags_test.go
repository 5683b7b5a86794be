package cmd

import (
	"net"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/node/registry"
)

func TestCheckRS(t *testing.T) {
	for rs, want := range map[string]string{
		"":                                 "",
		"127.0.0.1:7400":                   "",
		"rs.example.net:80":                "",
		"[2001:db8::1]:7400":               "",
		"https://rs.example.net":           "",
		"/ip4/127.0.0.1/tcp/7401/p2p/12D3": "",
		"127.0.0.1":                        "for example 127.0.0.1:7400 (",
		"127.0.0.1:":                       "for example 127.0.0.1:7400 (",
		"rs.example.net":                   "for example rs.example.net:7400 (",
		"2001:db8::1":                      "for example [2001:db8::1]:7400 (",
		"[2001:db8::1]":                    "for example [2001:db8::1]:7400 (",
	} {
		err := checkRS(rs)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", rs, err, want)
		}
	}
	if _, port, err := net.SplitHostPort(registry.DefaultConfig().Listen); err != nil || port != defaultPort {
		t.Errorf("a registry listens on %q (%v), the message says %s", port, err, defaultPort)
	}
}

func TestCalledAs(t *testing.T) {
	for arg0, want := range map[string]string{
		"":                                       "peerprobe",
		"peerprobe":                              "peerprobe",
		"./peerprobe":                            "./peerprobe",
		"/usr/local/bin/peerprobe":               "/usr/local/bin/peerprobe",
		"/tmp/go-build123456/b001/exe/peerprobe": "go run .",
		"/root/.cache/go-build/ab/abcd-d/peerprobe": "go run .",
	} {
		if got := calledAs(arg0); got != want {
			t.Errorf("%q: %q, want %q", arg0, got, want)
		}
	}
}
