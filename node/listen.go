package node

import (
	"strings"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// A node that may listen on any free port takes the one of its last run, if it is still free: what others
// have written down about it then stays true over a restart, also while the registry is away.

// metaPorts holds the ports of the last run: family ("ip4", "ip6") -> TCP port, as text.
const metaPorts = "ports"

const anyPort = "/tcp/0"

// listen makes the host, on the ports of the last run or else on free ones.
func (p *peer) listen(cfg p2p.Config) error {
	ports := map[string]string{}
	if raw, err := p.files.db.Meta(metaPorts); err == nil {
		_ = cluster.Unmarshal(raw, &ports) // unreadable: as if there had been no run
	}
	again := cfg
	again.Listen = onPorts(cfg.Listen, ports)
	host, err := p2p.New(again)
	if err != nil {
		host, err = p2p.New(cfg)
	}
	if err != nil {
		return err
	}
	p.host = host
	for _, a := range host.Addrs() {
		if family, port, ok := familyPort(p2p.AddrText(a)); ok {
			ports[family] = port
		}
	}
	return p.files.db.SetMeta(metaPorts, cluster.Marshal(ports))
}

// onPorts puts the ports in the place of "any".
func onPorts(listen []string, ports map[string]string) []string {
	out := make([]string, len(listen))
	for i, a := range listen {
		out[i] = a
		family, _, _ := strings.Cut(strings.TrimPrefix(a, "/"), "/")
		if base, any := strings.CutSuffix(a, anyPort); any && ports[family] != "" {
			out[i] = base + "/tcp/" + ports[family]
		}
	}
	return out
}

// familyPort takes "/ip4/192.0.2.1/tcp/4001" apart; false for other transports.
func familyPort(addr string) (family, port string, ok bool) {
	parts := strings.Split(addr, "/")
	if len(parts) != 5 || parts[3] != "tcp" {
		return "", "", false
	}
	return parts[1], parts[4], true
}
