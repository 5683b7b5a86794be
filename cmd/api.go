package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/peerprobe/peerprobe/node"
	"github.com/spf13/cobra"
)

// api is what commands ask of a node: the one that runs here, through its socket, or one in this process.
type api interface {
	Measure(context.Context, node.Request) (*node.Measurement, error)
	Status(context.Context) (node.Status, error)
	Nodes(context.Context) ([]node.NodeInfo, error)
	Clusters(context.Context) ([]node.ClusterInfo, error)
	Results(context.Context, node.ResultQuery) (node.ResultPage, error)
	Drain(ctx context.Context, on bool) error
}

const noNodeHint = "start one with 'peerprobe join --rs HOST:PORT', or see all of it with 'peerprobe demo'"

// errNoNode is returned where a running node is needed and there is none.
type errNoNode struct{ data string }

func (e *errNoNode) Error() string {
	if e.data != "" {
		return fmt.Sprintf("no node runs with data directory %s: %s", e.data, noNodeHint)
	}
	return "no node of this user runs here: " + noNodeHint
}

// dataFlag is --data of the commands that talk to a running node.
func dataFlag(c *cobra.Command, data *string) {
	c.Flags().StringVar(data, "data", "", "data directory of the running node (default: the one node that runs here)")
	_ = c.MarkFlagDirname("data")
}

// lookFlags are those of the commands that ask the running node something and print its answer.
type lookFlags struct {
	data string
	out  formatFlags
}

func (l *lookFlags) add(c *cobra.Command) {
	dataFlag(c, &l.data)
	l.out.add(c)
}

// connect finds the node to ask, and says in which form to print what it answers.
func (l *lookFlags) connect(e *env, c *cobra.Command) (api, format, error) {
	f, err := l.out.value(c)
	if err != nil {
		return nil, "", err
	}
	a, err := e.connect(l.data)
	return a, f, err
}

// connect finds the running node: by its data directory, or the only one of this user.
func (e *env) connect(data string) (api, error) {
	path := ""
	if data != "" {
		path = e.controlPath(data)
		if _, err := os.Stat(path); err != nil {
			return nil, &errNoNode{data: data}
		}
	} else {
		found := e.sockets()
		switch len(found) {
		case 0:
			return nil, &errNoNode{}
		case 1:
			path = found[0]
		default:
			return nil, fmt.Errorf("%d nodes of this user run here: choose one with --data DIR out of %s", len(found), strings.Join(dataDirs(found), ", "))
		}
	}
	a, err := e.dial(path)
	if err != nil && data != "" && !errors.Is(err, fs.ErrPermission) {
		return nil, &errNoNode{data: data} // a socket that a killed node left behind
	}
	if err != nil {
		return nil, fmt.Errorf("cannot talk to the node behind %s: %w", path, err)
	}
	return a, nil
}

// dataDirs are the directories of sockets, which is what --data wants.
func dataDirs(sockets []string) []string {
	dirs := make([]string, len(sockets))
	for i, s := range sockets {
		dirs[i] = strings.TrimSuffix(s, string(os.PathSeparator)+"control.sock")
	}
	return dirs
}
