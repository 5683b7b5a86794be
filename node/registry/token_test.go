package registry

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/cluster"
)

func TestTokens(t *testing.T) {
	cfg := testConfig(t)
	cfg.Tokens = true
	r := start(t, cfg)
	info := r.Info()
	text, err := os.ReadFile(info.TokenFile)
	if err != nil || strings.TrimSpace(string(text)) != info.Token || !strings.HasPrefix(info.Token, string(info.Network)+".") {
		t.Fatalf("token %q, file %q, %v", info.Token, text, err)
	}
	if want := "peerprobe join --rs " + info.JoinAddr + " --token-file " + info.TokenFile; info.JoinCommand != want {
		t.Errorf("command %q, want %q", info.JoinCommand, want)
	}
	if strings.Contains(info.JoinCommand, info.Token) {
		t.Error("the token is in the command line")
	}
	c := r.join("127.61.187.2")
	reg := cluster.Request{Kind: cluster.CallRegister}
	for token, want := range map[string]string{
		"":                                   "--token-file",
		"rubbish":                            "<network>.<secret>",
		string(info.Network) + ".":           "<network>.<secret>",
		"other." + info.Token[27:]:           "the token is of network other",
		string(info.Network) + ".wrongwrong": "not known here",
	} {
		reg.Token = token
		if no := c.refused(cluster.CodeToken, reg); !strings.Contains(no.Message, want) {
			t.Errorf("token %q: %q, want %q in it", token, no.Message, want)
		}
	}
	c.register(cluster.Request{Token: info.Token})
	c.register(cluster.Request{}) // comes back without it

	guest, err := r.MakeToken(TokenOptions{Class: cluster.ClassGuest, City: "武汉", Uses: 1})
	if err != nil {
		t.Fatal(err)
	}
	reg.Token = guest
	if no := r.join("127.61.187.9").refused(cluster.CodeToken, reg); !strings.Contains(no.Message, "admits to wuhan") {
		t.Errorf("outside of the token's city: %s", no.Message)
	}
	w := r.join("127.61.183.2")
	w.register(cluster.Request{Token: guest})
	if adm, _ := w.net.Admission(w.adm); adm.Class != cluster.ClassGuest {
		t.Errorf("class %s", adm.Class)
	}
	if no := r.join("127.61.183.3").refused(cluster.CodeToken, reg); !strings.Contains(no.Message, "used up") {
		t.Errorf("a second node with a token for one: %s", no.Message)
	}
	if lines := r.auditOf(t, auditRefuse); len(lines) != 7 {
		t.Errorf("%d refusals in the audit, want 7: %+v", len(lines), lines)
	}
	for _, e := range r.auditOf(t, auditAdmit) {
		if strings.Contains(fmt.Sprint(e), info.Token[27:]) {
			t.Error("the token is in the audit")
		}
	}
	if _, err := r.MakeToken(TokenOptions{Class: "king"}); err == nil {
		t.Error("a token of an unknown class was made")
	}
	r.close()
	if _, err := r.MakeToken(TokenOptions{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a stopped registry makes tokens: %v", err)
	}
	r = start(t, cfg)
	if r.Info().Token != "" || r.Info().JoinCommand == "" || r.Info().TokenFile != info.TokenFile {
		t.Errorf("the restart made another token: %+v", r.Info())
	}
}

// Tables are lost, keys are not: who was admitted comes in by its admission.
func TestLostTablesHeal(t *testing.T) {
	cfg := testConfig(t)
	cfg.Tokens = true
	r := start(t, cfg)
	c := r.join("127.61.187.2")
	c.register(cluster.Request{Token: r.Info().Token})
	r.close()
	files, err := filepath.Glob(filepath.Join(cfg.Data, "*.db"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	r = start(t, cfg)
	d := r.joinAs(c.key, "127.61.187.3")
	d.register(cluster.Request{Admission: c.adm})
	stranger := r.join("127.61.187.4")
	stranger.refused(cluster.CodeToken, cluster.Request{Kind: cluster.CallRegister, Admission: c.adm})
}
