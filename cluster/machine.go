package cluster

import (
	"math/rand/v2"
)

type Machine struct{}

func New(cfg Config, self Row, hard HardState, sign Signer, rng *rand.Rand) (*Machine, error) {
	panic("todo")
}
func (m *Machine) Step(now Instant, in Input) (Output, error)         { panic("todo") }
func (m *Machine) Tick(now Instant) Output                            { panic("todo") }
func (m *Machine) Deadline() (Instant, bool)                          { panic("todo") }
func (m *Machine) Status() Status                                     { panic("todo") }
func (m *Machine) Members() []MemberInfo                              { panic("todo") }
func (m *Machine) Heads() []KnownHead                                 { panic("todo") }
func (m *Machine) Head(city City) (KnownHead, bool)                   { panic("todo") }
func (m *Machine) Pick(now Instant, n int, exclude ID) []Picked       { panic("todo") }
func (m *Machine) JudgeRequester(lead Signed, admission Signed) error { panic("todo") }
func (m *Machine) IssueTicket(p Picked, initiator ID, tool string, session [16]byte, limits TicketLimits) (Signed, error) {
	panic("todo")
}
func (m *Machine) CheckTicket(now Instant, from ID, s Signed, tool string) (*Ticket, error) {
	panic("todo")
}

// RefusedTicket is CheckTicket's refusal. High is the target's own High where the issuer is behind it.
type RefusedTicket struct {
	Code string
	Text string
	High Signed
}

func (e *RefusedTicket) Error() string { return "ticket refused: " + e.Text }
