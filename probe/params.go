package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrParams is wrapped by everything that Params.Validate and Limits.Validate
// say.
var ErrParams = errors.New("bad parameters")

// Params of a session of the latency tool. JSON has intervalMs and timeoutMs.
type Params struct {
	Count       int           `cbor:"1,keyasint"` // packets, the handshake's included
	Interval    time.Duration `cbor:"2,keyasint"` // between packets
	Size        int           `cbor:"3,keyasint"` // UDP payload bytes
	Timeout     time.Duration `cbor:"4,keyasint"` // an answer later than this is a loss
	KeepSamples bool          `cbor:"5,keyasint"` // every packet in the result
}

const (
	// MinParamSize is the STAMP packet of authenticated mode without extensions
	// (RFC 8762 sec. 4.2.2). Grant raises it to MinSize.
	MinParamSize = 112
	// maxUDPPayload is what an IPv4 datagram can carry.
	maxUDPPayload = 65507
	// maxCount bounds the memory of one run (about 300 bytes a packet).
	maxCount = 1 << 20
	// maxSamples is how many packets a result can hold one by one: more do not
	// fit into MaxResultBytes.
	maxSamples = 16_384
	// maxPeriod bounds intervals and timeouts: beyond an hour it is a schedule.
	maxPeriod = time.Hour
)

// DefaultParams is about two seconds of measuring.
func DefaultParams() Params {
	return Params{Count: 10, Interval: 200 * time.Millisecond, Size: MinSize, Timeout: 2 * time.Second}
}

// Validate says what makes no sense.
func (p Params) Validate() error {
	switch {
	case p.Count < 1:
		return fmt.Errorf("%w: count is %d, at least 1 packet is needed", ErrParams, p.Count)
	case p.Count > maxCount:
		return fmt.Errorf("%w: count is %d, at most %d packets a session", ErrParams, p.Count, maxCount)
	case p.Interval <= 0:
		return fmt.Errorf("%w: interval is %v, it must be above 0", ErrParams, p.Interval)
	case p.Interval > maxPeriod:
		return fmt.Errorf("%w: interval is %v, at most %v (use a schedule for more)", ErrParams, p.Interval, maxPeriod)
	case p.Size < MinParamSize:
		return fmt.Errorf("%w: size is %d bytes, an authenticated STAMP packet has at least %d", ErrParams, p.Size, MinParamSize)
	case p.Size > maxUDPPayload:
		return fmt.Errorf("%w: size is %d bytes, UDP carries at most %d", ErrParams, p.Size, maxUDPPayload)
	case p.Timeout <= 0:
		return fmt.Errorf("%w: timeout is %v, it must be above 0", ErrParams, p.Timeout)
	case p.Timeout > maxPeriod:
		return fmt.Errorf("%w: timeout is %v, at most %v", ErrParams, p.Timeout, maxPeriod)
	}
	return nil
}

// Duration is how long a run takes when nothing is lost before the cookie:
// the packets and the wait for the last answer.
func (p Params) Duration() time.Duration {
	return time.Duration(p.Count)*p.Interval + p.Timeout
}

// Limits are what a target allows in one session.
type Limits struct {
	MaxCount    int
	MinInterval time.Duration
	MaxSize     int
	MaxDuration time.Duration // of Count * Interval
	MaxTimeout  time.Duration
}

// DefaultLimits of a node: a minute at most, 1000 packets/s, no fragments on
// Ethernet.
func DefaultLimits() Limits {
	return Limits{
		MaxCount:    10_000,
		MinInterval: time.Millisecond,
		MaxSize:     1452, // 1500 less IPv6 and UDP headers
		MaxDuration: 60 * time.Second,
		MaxTimeout:  10 * time.Second,
	}
}

// Validate says which limit would allow nothing.
func (l Limits) Validate() error {
	switch {
	case l.MaxCount < 1 || l.MaxCount > maxCount:
		return fmt.Errorf("%w: limit of packets is %d, want 1 to %d", ErrParams, l.MaxCount, maxCount)
	case l.MinInterval <= 0 || l.MinInterval > maxPeriod:
		return fmt.Errorf("%w: shortest interval is %v, want above 0 and at most %v", ErrParams, l.MinInterval, maxPeriod)
	case l.MaxSize < MinSize || l.MaxSize > maxUDPPayload:
		return fmt.Errorf("%w: limit of size is %d, want %d to %d bytes", ErrParams, l.MaxSize, MinSize, maxUDPPayload)
	case l.MaxDuration < l.MinInterval:
		return fmt.Errorf("%w: longest duration is %v, below one interval of %v", ErrParams, l.MaxDuration, l.MinInterval)
	case l.MaxTimeout <= 0 || l.MaxTimeout > maxPeriod:
		return fmt.Errorf("%w: longest timeout is %v, want above 0 and at most %v", ErrParams, l.MaxTimeout, maxPeriod)
	}
	return nil
}

// Grant gives the parameters that the target allows, and says what it changed.
// The target's limits win: the count is lowered last, so that the session fits
// into MaxDuration. p and l must be valid.
func (p Params) Grant(l Limits) (Params, []string) {
	var said []string
	say := func(format string, a ...any) { said = append(said, fmt.Sprintf(format, a...)) }
	if p.Interval < l.MinInterval {
		say("interval raised from %v to %v", p.Interval, l.MinInterval)
		p.Interval = l.MinInterval
	}
	if p.Interval > l.MaxDuration {
		say("interval lowered from %v to %v", p.Interval, l.MaxDuration)
		p.Interval = l.MaxDuration
	}
	if p.Timeout > l.MaxTimeout {
		say("loss timeout lowered from %v to %v", p.Timeout, l.MaxTimeout)
		p.Timeout = l.MaxTimeout
	}
	if p.Size > l.MaxSize {
		say("size lowered from %d to %d bytes", p.Size, l.MaxSize)
		p.Size = l.MaxSize
	}
	if n := packetSize(p.Size, l.MaxSize); n != p.Size {
		say("size changed from %d to %d bytes: the session's cookie and MAC need room", p.Size, n)
		p.Size = n
	}
	most := min(l.MaxCount, int(min(l.MaxDuration/p.Interval, maxCount)))
	if p.Count > most {
		say("count lowered from %d to %d packets", p.Count, most)
		p.Count = most
	}
	if p.KeepSamples && p.Count > maxSamples {
		say("samples are not kept: a result holds at most %d, and %d were asked for", maxSamples, p.Count)
		p.KeepSamples = false
	}
	return p, said
}

// paramsJSON is Params as JSON shows it.
type paramsJSON struct {
	Count       int     `json:"count"`
	IntervalMs  float64 `json:"intervalMs"`
	Size        int     `json:"size"`
	TimeoutMs   float64 `json:"timeoutMs"`
	KeepSamples bool    `json:"keepSamples"`
}

// MarshalJSON writes durations as milliseconds.
func (p Params) MarshalJSON() ([]byte, error) {
	return json.Marshal(paramsJSON{p.Count, ms(p.Interval), p.Size, ms(p.Timeout), p.KeepSamples})
}

// UnmarshalJSON reads durations as milliseconds.
func (p *Params) UnmarshalJSON(b []byte) error {
	var j paramsJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("%w: %w", ErrParams, err)
	}
	const most = float64(maxPeriod) / float64(time.Millisecond)
	if math.Abs(j.IntervalMs) > most || math.Abs(j.TimeoutMs) > most {
		return fmt.Errorf("%w: intervalMs and timeoutMs are at most %v", ErrParams, most)
	}
	*p = Params{j.Count, fromMs(j.IntervalMs), j.Size, fromMs(j.TimeoutMs), j.KeepSamples}
	return nil
}

// ms is a duration in milliseconds.
func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func fromMs(f float64) time.Duration {
	return time.Duration(math.Round(f * float64(time.Millisecond)))
}
