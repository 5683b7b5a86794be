package registry

import (
	"errors"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

func TestResultsExactlyOnce(t *testing.T) {
	r := start(t, testConfig(t))
	head, member, other := r.join("127.61.187.2"), r.join("127.61.187.3"), r.join("127.61.183.2")
	_, lead := head.becomeHead()
	member.register(cluster.Request{})
	_, otherLead := other.becomeHead()
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	msg := head.batch(lead, head.result(1, at), member.result(1, at.Add(time.Second)))
	for i, want := range []struct{ added, known int }{{2, 0}, {0, 2}} {
		ack, err := head.deliver(msg)
		if err != nil || ack.Error != nil || ack.Added != want.added || ack.Known != want.known || ack.Store != r.srv.tables {
			t.Fatalf("delivery %d: %+v, %v", i, ack, err)
		}
	}
	page, err := r.Results(store.Query{InitiatorCity: "changsha"})
	if err != nil || len(page.Results) != 2 || page.Results[0].Key != member.result(1, at).Key {
		t.Errorf("stored: %+v, %v", page, err)
	}
	forged := head.batch(lead, head.result(2, at))
	forged.Sig = cluster.Sign(cluster.DomainBatch, p2p.BatchDigest(forged.Batch), cluster.SignerOf(other.key))
	swapped := head.batch(lead, head.result(2, at))
	swapped.Sig = msg.Sig
	version := head.batch(lead, head.result(2, at))
	version.Version = 9
	garbage := head.batch(lead)
	garbage.Batch = []byte("no batch")
	garbage.Sig = cluster.Sign(cluster.DomainBatch, p2p.BatchDigest(garbage.Batch), cluster.SignerOf(head.key))
	for _, tt := range []struct {
		name string
		from *client
		msg  *p2p.ResultsMsg
		code string
	}{
		{"a member that is no head", member, member.batch(cluster.Signed{}, member.result(2, at)), cluster.CodeNotHead},
		{"with the head's claim", member, member.batch(lead, member.result(2, at)), cluster.CodeNotHead},
		{"another city's result", other, other.batch(otherLead, member.result(2, at)), codeInvalid},
		{"another's signature", head, forged, codeInvalid},
		{"another batch's signature", head, swapped, codeInvalid},
		{"another version", head, version, cluster.CodeVersion},
		{"garbage", head, garbage, codeInvalid},
		{"a result of nobody", head, head.batch(lead, probe.Result{Schema: 1, Key: probe.Key{Node: "nobody", Boot: 1, Seq: 1}, Tool: "latency", Status: probe.StatusFailed}), codeInvalid},
	} {
		ack, err := tt.from.deliver(tt.msg)
		if err != nil || ack.Error == nil || ack.Error.Code != tt.code {
			t.Errorf("%s: %+v, %v, want %s", tt.name, ack, err, tt.code)
		}
	}
	// Without a claim the table decides who leads.
	if ack, err := head.deliver(head.batch(cluster.Signed{}, head.result(3, at))); err != nil || ack.Added != 1 {
		t.Errorf("the head without its claim: %+v, %v", ack, err)
	}
	if page, err := r.Results(store.Query{}); err != nil || len(page.Results) != 3 {
		t.Errorf("%d results stored, %v", len(page.Results), err)
	}
}

// A head that has been replaced delivers nothing any more.
func TestDeposedHeadDeliversNothing(t *testing.T) {
	r := start(t, testConfig(t))
	first, second := r.join("127.61.187.2"), r.join("127.61.187.3")
	_, lead := first.becomeHead()
	second.register(cluster.Request{})
	a := first.call(cluster.Request{Kind: cluster.CallPropose, Lead: lead, Living: []cluster.ID{first.id(), second.id()}})
	low, high := first.lead(a.Cert, 0, 2), second.lead(a.Cert, 1, 1)
	at := time.Now()
	// The new head delivers before its take-over was told: its claim is enough.
	if ack, err := second.deliver(second.batch(high, second.result(1, at))); err != nil || ack.Added != 1 {
		t.Errorf("the new head: %+v, %v", ack, err)
	}
	second.call(cluster.Request{Kind: cluster.CallTakeover, Lead: high, Cert: a.Cert})
	if ack, err := first.deliver(first.batch(low, first.result(1, at))); err != nil || ack.Error == nil || ack.Error.Code != cluster.CodeNotHead {
		t.Errorf("the deposed head: %+v, %v", ack, err)
	}
}

func TestStrangerIsReset(t *testing.T) {
	r := start(t, testConfig(t))
	c := r.join("127.61.187.2")
	at := time.Now()
	msg := c.batch(cluster.Signed{}, c.result(1, at))
	if _, err := c.deliver(msg); !errors.Is(err, p2p.ErrNoNetwork) {
		t.Errorf("without an admission: %v", err)
	}
	// Another network's admission, and one made by itself.
	c.host.SetAdmission(cluster.Sign(cluster.DomainAdmission, cluster.Admission{
		Version: 1, Network: c.net.Network(), ID: c.id(), City: "changsha", Class: cluster.ClassOwn, Serial: 1,
	}, cluster.SignerOf(c.key)))
	if _, err := c.deliver(msg); !errors.Is(err, p2p.ErrNotAdmitted) {
		t.Errorf("with an admission of its own making: %v", err)
	}
	other := r.join("127.61.187.3")
	other.register(cluster.Request{})
	c.host.SetAdmission(other.adm)
	if _, err := c.deliver(msg); !errors.Is(err, p2p.ErrNotAdmitted) {
		t.Errorf("with another node's admission: %v", err)
	}
	if n := r.srv.host.Counters().NotAdmitted; n != 2 {
		t.Errorf("%d streams counted as not admitted, want 2", n)
	}
}
