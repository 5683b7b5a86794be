package store

import (
	"fmt"

	"github.com/peerprobe/peerprobe/probe"
)

const (
	// MaxBatchRows results travel in one batch.
	MaxBatchRows = 4096
)

// EncodeBatch is
func EncodeBatch(rs []probe.Result) ([]byte, error) { return nil, fmt.Errorf("todo") }

// DecodeBatch is
func DecodeBatch(b []byte) ([]probe.Result, error) { return nil, fmt.Errorf("todo") }
