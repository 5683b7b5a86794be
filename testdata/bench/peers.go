package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// The packets of one round of the comparison: the same for all three programs.
const (
	packets    = 100
	intervalMs = 10
	irttPort   = "127.0.0.1:2113" // not irtt's own, which a server here may hold
)

// rtts returns the median RTT in microseconds of one run of each program, in this order.
type rtts struct{ ours, ping, irtt float64 }

func (b *bench) round(ctx context.Context, data string) (r rtts, err error) {
	if r.ours, err = b.ourMedian(ctx, data); err != nil {
		return r, err
	}
	if r.ping, err = pingMedian(ctx); err != nil {
		return r, err
	}
	r.irtt, err = irttMedian(ctx)
	return r, err
}

func (b *bench) ourMedian(ctx context.Context, data string) (float64, error) {
	out, err := exec.CommandContext(ctx, b.bin, "measure", "--to", "wuhan", "--data", data, "-J",
		"--count", strconv.Itoa(packets), "--interval", fmt.Sprintf("%dms", intervalMs)).Output()
	if err != nil {
		return 0, fmt.Errorf("measure: %w", err)
	}
	var doc struct {
		Results []struct {
			Result struct {
				Latency struct {
					RTT struct{ Median float64 }
				}
			}
		}
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return 0, err
	}
	if len(doc.Results) == 0 || doc.Results[0].Result.Latency.RTT.Median == 0 {
		return 0, fmt.Errorf("measure printed no median: %s", out)
	}
	return doc.Results[0].Result.Latency.RTT.Median * 1000, nil
}

func pingMedian(ctx context.Context) (float64, error) {
	out, err := exec.CommandContext(ctx, "ping", "-c", strconv.Itoa(packets), "-i", fmt.Sprint(intervalMs/1000.0), "127.0.0.1").Output()
	if err != nil {
		return 0, fmt.Errorf("ping: %w", err)
	}
	var all []float64
	for line := range strings.Lines(string(out)) {
		if _, rest, ok := strings.Cut(line, "time="); ok {
			ms, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				return 0, err
			}
			all = append(all, ms*1000)
		}
	}
	if len(all) == 0 {
		return 0, fmt.Errorf("ping printed no times: %s", out)
	}
	return median(all), nil
}

func irttMedian(ctx context.Context) (float64, error) {
	out, err := exec.CommandContext(ctx, "irtt", "client", "-Q", "-o", "-",
		"-i", fmt.Sprintf("%dms", intervalMs), "-d", fmt.Sprintf("%dms", intervalMs*packets), irttPort).Output()
	if err != nil {
		return 0, fmt.Errorf("irtt: %w", err)
	}
	var doc struct {
		Stats struct {
			RTT struct{ Median float64 } // nanoseconds
		}
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return 0, fmt.Errorf("irtt's answer: %w: %s", err, out)
	}
	return doc.Stats.RTT.Median / 1000, nil
}
