package cmd

import (
	"fmt"
	"math"

	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/probe"
)

// distance is how far apart the cities of two ends are, and the round trip that light in fibre needs for it.
type distance struct {
	Km      float64 `json:"km"`
	LightMs float64 `json:"lightMs"`
}

// between is the distance of a result's ends; nil where one of them is in no city that has a place, or both in one.
func between(r probe.Result) *distance {
	km, ok := locate.Between(r.Initiator.City, r.Target.City)
	if !ok || r.Initiator.City == r.Target.City {
		return nil
	}
	return &distance{math.Round(km*10) / 10, math.Round(locate.LightMs(km)*1000) / 1000}
}

// lightSlackMs: a node stands for its city from up to 50 km away, at both ends.
const lightSlackMs = 1.0

// distanceLine says how a round trip compares with light.
func distanceLine(d *distance, rtt *float64) string {
	s := fmt.Sprintf("%.0f km between the cities; light in fibre needs %.2f ms there and back", d.Km, d.LightMs)
	switch {
	case rtt == nil || *rtt <= 0:
	case *rtt < d.LightMs-lightSlackMs:
		s += "; faster than that: one of the two is not where it is said to be"
	default:
		s += fmt.Sprintf(", the fastest packet took %.1f times that", *rtt/d.LightMs)
	}
	return s
}
