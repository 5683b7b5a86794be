package sim

import (
	"testing"
	"time"
)

func never() error { return nil }

func TestMeasure(t *testing.T) {
	c := DefaultCityConfig()
	for _, b := range Blows() {
		all, err := c.TakeOvers(b, 20, never)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(b, all)
	}
	for _, d := range []time.Duration{5 * time.Second, 30 * time.Second, 600 * time.Second} {
		all, err := c.Heals(d, 20, never)
		t.Log(d, all, err)
	}
	for _, loss := range []float64{0, 0.05, 0.2} {
		for _, d := range []bool{false, true} {
			c.Loss, c.Datagrams = loss, d
			p, err := c.Peace(time.Hour, never)
			t.Logf("%v %v: %+v %v", loss, d, p, err)
		}
	}
	c.Loss, c.Datagrams = 0, false
	a, err := c.Availability(Turnover{time.Hour, 30 * time.Second}, time.Hour, never)
	t.Logf("%+v %v", a, err)
}
