//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"go.etcd.io/etcd/server/v3/embed"
)

// The members of each system, with the settings that it comes with.

// systems are what a member's process does, by name.
var systems = map[string]func(part, *voice) error{"memberlist": actMemberlist, "raft": actRaft, "etcd": actEtcd}

// rejoinEvery is how often a memberlist member that is alone calls the others.
const rejoinEvery = 200 * time.Millisecond

func splitPort(address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(text)
	return host, port, err
}

func actMemberlist(p part, v *voice) (err error) {
	cfg := memberlist.DefaultLANConfig()
	cfg.Name = strconv.Itoa(p.Index)
	if cfg.BindAddr, cfg.BindPort, err = splitPort(p.Peers[p.Index]); err != nil {
		return err
	}
	cfg.AdvertiseAddr, cfg.AdvertisePort = cfg.BindAddr, cfg.BindPort
	cfg.LogOutput = io.Discard
	cfg.Events = watcher{v}
	list, err := memberlist.Create(cfg)
	if err != nil {
		return err
	}
	v.say(sayReady, p.Index)
	left := make(chan struct{})
	go func() { untilLeft(); close(left) }()
	again := time.NewTicker(rejoinEvery)
	defer again.Stop()
	for list.NumMembers() == 1 {
		_, _ = list.Join(p.Peers) // whoever is there
		select {
		case <-left:
			return nil
		case <-again.C:
		}
	}
	<-left
	return nil
}

// watcher says who comes and goes.
type watcher struct{ v *voice }

func (w watcher) tell(event string, n *memberlist.Node) {
	if who, err := strconv.Atoi(n.Name); err == nil {
		w.v.say(event, who)
	}
}

func (w watcher) NotifyJoin(n *memberlist.Node)   { w.tell(sayBack, n) }
func (w watcher) NotifyLeave(n *memberlist.Node)  { w.tell(sayGone, n) }
func (w watcher) NotifyUpdate(n *memberlist.Node) {}

// noLog is a state machine without a state: only the leader counts here.
type noLog struct{}

func (noLog) Apply(*raft.Log) any                  { return nil }
func (noLog) Snapshot() (raft.FSMSnapshot, error)  { return nil, errors.New("there is nothing to keep") }
func (noLog) Restore(snapshot io.ReadCloser) error { return snapshot.Close() }

func actRaft(p part, v *voice) error {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return err
	}
	store, err := wal.Open(p.Dir)
	if err != nil {
		return err
	}
	transport, err := raft.NewTCPTransport(p.Peers[p.Index], nil, 3, 10*time.Second, io.Discard)
	if err != nil {
		return err
	}
	cfg := raft.DefaultConfig()
	cfg.LocalID, cfg.LogOutput = raft.ServerID(strconv.Itoa(p.Index)), io.Discard
	snapshots := raft.NewDiscardSnapshotStore()
	before, err := raft.HasExistingState(store, store, snapshots)
	if err != nil {
		return err
	}
	node, err := raft.NewRaft(cfg, noLog{}, store, store, snapshots, transport)
	if err != nil {
		return err
	}
	seen := make(chan raft.Observation, 64)
	node.RegisterObserver(raft.NewObserver(seen, true, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	if !before && p.Index < voters { // the others hear of it from the leader
		var all raft.Configuration
		for i, at := range p.Peers {
			s := raft.Server{ID: raft.ServerID(strconv.Itoa(i)), Address: raft.ServerAddress(at)}
			if i >= voters {
				s.Suffrage = raft.Nonvoter
			}
			all.Servers = append(all.Servers, s)
		}
		if err := node.BootstrapCluster(all).Error(); err != nil {
			return err
		}
	}
	v.say(sayReady, p.Index)
	go func() {
		for o := range seen {
			if who, err := strconv.Atoi(string(o.Data.(raft.LeaderObservation).LeaderID)); err == nil { // none: an election
				v.say(sayLead, who)
			}
		}
	}()
	untilLeft()
	return nil
}

func actEtcd(p part, v *voice) error {
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.LogLevel, cfg.LogOutputs = strconv.Itoa(p.Index), p.Dir, "error", []string{filepath.Join(filepath.Dir(p.Dir), "etcd.log")}
	peer := func(i int) (url.URL, error) {
		u, err := url.Parse("http://" + p.Peers[i])
		return *u, err
	}
	own, err := peer(p.Index)
	if err != nil {
		return err
	}
	host, _, err := splitPort(p.Peers[p.Index])
	if err != nil {
		return err
	}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{own}, []url.URL{own}
	client := url.URL{Scheme: "http", Host: net.JoinHostPort(host, "0")}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	var initial []string
	for i := range p.Peers[:voters] {
		initial = append(initial, fmt.Sprintf("%d=http://%s", i, p.Peers[i]))
	}
	cfg.InitialCluster = strings.Join(initial, ",")
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	v.say(sayReady, p.Index)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			changed := etcd.Server.LeaderChangedNotify()
			if m := etcd.Server.Cluster().Member(etcd.Server.Leader()); m != nil {
				if who, err := strconv.Atoi(m.Name); err == nil {
					v.say(sayLead, who)
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}()
	untilLeft()
	return nil
}
