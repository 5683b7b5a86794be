package scale

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Sessions is how long a node stays: a distribution with a mean.
type Sessions string

// The distributions. Both heavy tails have a finite mean and many short sessions: those of Pareto with shape 1.5
// have no variance, those of the log-normal one have sigma 2 (nine in ten shorter than twice the mean).
const (
	Exponential Sessions = "exponential"
	Pareto      Sessions = "pareto"
	LogNormal   Sessions = "lognormal"
)

const (
	paretoShape    = 1.5
	logNormalSigma = 2.0
)

// AllSessions are the distributions.
func AllSessions() []Sessions { return []Sessions{Exponential, Pareto, LogNormal} }

// ParseSessions reads a name.
func ParseSessions(s string) (Sessions, error) {
	for _, d := range AllSessions() {
		if string(d) == s {
			return d, nil
		}
	}
	return "", fmt.Errorf("%w: %q is no distribution of sessions: there is %v", ErrConfig, s, AllSessions())
}

// draw is one session, in seconds.
func (s Sessions) draw(mean float64, rng *rand.Rand) float64 {
	switch s {
	case Pareto:
		least := mean * (paretoShape - 1) / paretoShape
		return least * math.Pow(1-rng.Float64(), -1/paretoShape)
	case LogNormal:
		return mean * math.Exp(logNormalSigma*rng.NormFloat64()-logNormalSigma*logNormalSigma/2)
	}
	return mean * rng.ExpFloat64()
}

// drawOld is what remains of the session of a node that is met at a random time, and how long it has been there:
// a session drawn in proportion to its length, cut at a uniform point.
func (s Sessions) drawOld(mean float64, rng *rand.Rand) (age, rest float64) {
	var whole float64
	switch s {
	case Pareto: // length-biased: the shape falls by one
		least := mean * (paretoShape - 1) / paretoShape
		whole = least * math.Pow(1-rng.Float64(), -1/(paretoShape-1))
	case LogNormal: // length-biased: the mean of the logarithm rises by sigma squared
		whole = mean * math.Exp(logNormalSigma*rng.NormFloat64()+logNormalSigma*logNormalSigma/2)
	default:
		whole = mean * (rng.ExpFloat64() + rng.ExpFloat64())
	}
	age = whole * rng.Float64()
	return age, whole - age
}

// staleDraws are enough for a share that is good to a hundredth of itself.
const staleDraws = 100_000

// Stale is the share of dead entries in a table whose entries are checked every refresh: a node that was alive at
// its last check, at a uniform time within the refresh ago, is gone.
func (s Sessions) Stale(mean, refresh time.Duration, rng *rand.Rand) float64 {
	gone := 0
	for range staleDraws {
		if _, rest := s.drawOld(mean.Seconds(), rng); rest < refresh.Seconds()*rng.Float64() {
			gone++
		}
	}
	return float64(gone) / staleDraws
}
