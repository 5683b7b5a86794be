package storetest

import (
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

func records(from, to int) (recs []store.ResultRecord) {
	for n := from; n < to; n++ {
		recs = append(recs, Record(n))
	}
	return recs
}

func keysOf(recs []store.ResultRecord) (keys []probe.Key) {
	for i := range recs {
		keys = append(keys, recs[i].Result.Key)
	}
	return keys
}

func nobody(probe.Key) bool { return false }

// heldForm is a record as it comes back: what a batch does not carry is not held.
func heldForm(recs ...store.ResultRecord) (out []store.ResultRecord) {
	for _, r := range recs {
		out = append(out, store.ResultRecord{Result: r.Result, Transcript: r.Transcript})
	}
	return out
}

func testHeld(t *testing.T, db Node) {
	known, err := db.Hold("wuhan", records(0, 10))
	must(t, err)
	equal(t, "known", known, []probe.Key(nil))
	_, err = db.Hold("wuhan", records(5, 12)) // again, and two more
	must(t, err)
	_, err = db.Hold("changsha", records(20, 22))
	must(t, err)
	if s := db.HeldStats(); s.Waiting != 14 || s.Kept != 0 || s.Bytes < 5000 {
		t.Errorf("%+v", s)
	}
	if page, err := db.Results(store.Query{}); err != nil || len(page.Results) != 0 {
		t.Errorf("what is held for others is among the own results: %d, %v", len(page.Results), err)
	}
	recs, _, err := db.HeldRecords(append(keysOf(records(3, 5)), Record(99).Result.Key), math.MaxInt)
	must(t, err)
	equal(t, "records", recs, heldForm(records(3, 5)...))
	keys, next, err := db.HeldKeys("wuhan", 0, 7)
	must(t, err)
	equal(t, "first keys", keys, keysOf(records(0, 7)))
	keys, next, err = db.HeldKeys("wuhan", next, 100)
	must(t, err)
	equal(t, "other keys", keys, keysOf(records(7, 12)))
	if keys, again, err := db.HeldKeys("wuhan", next, 100); err != nil || again != next || len(keys) != 0 {
		t.Errorf("keys after the last: %v, %d after %d, %v", keys, again, next, err)
	}
	got, err := db.HeldNext("wuhan", 3, math.MaxInt, func(k probe.Key) bool { return k == Record(1).Result.Key })
	must(t, err)
	equal(t, "oldest", got, []probe.Result{Result(0), Result(2), Result(3)})
	if got, err = db.HeldNext("wuhan", 100, 1, nobody); err != nil || len(got) != 1 {
		t.Errorf("at least one: %d, %v", len(got), err)
	}
	// Released: they do not wait, but they are kept, and known when they come again.
	must(t, db.ReleaseHeld(Start, keysOf(records(0, 4))))
	must(t, db.ReleaseHeld(Start.Add(time.Hour), keysOf(append(records(2, 6), Record(77)))))
	if s := db.HeldStats(); s.Waiting != 8 || s.Kept != 6 {
		t.Errorf("%+v", s)
	}
	known, err = db.Hold("wuhan", records(3, 8))
	must(t, err)
	equal(t, "known", known, keysOf(records(3, 6)))
	if recs, used, err := db.HeldRecords(keysOf(records(3, 9)), 1); err != nil || len(recs) != 1 || used != 1 {
		t.Errorf("at least one: %d of %d, %v", len(recs), used, err)
	}
	recs, _, err = db.HeldRecords(keysOf(records(3, 4)), math.MaxInt)
	must(t, err)
	equal(t, "kept record", recs, heldForm(Record(3)))
	// The registry lost them: the oldest wait again first, behind those that wait.
	keys, err = db.Recall(4)
	must(t, err)
	if len(keys) != 4 || db.HeldStats().Waiting != 12 {
		t.Errorf("recalled %v, %+v", keys, db.HeldStats())
	}
	if keys, err = db.Recall(100); err != nil || len(keys) != 2 {
		t.Errorf("recalled %v, %v", keys, err)
	}
	got, err = db.HeldNext("wuhan", 100, math.MaxInt, nobody)
	if err != nil || len(got) != 12 || got[0].Key != Record(6).Result.Key {
		t.Errorf("%d wait, %v", len(got), err)
	}
	must(t, db.ReleaseHeld(Start, keysOf(records(0, 3))))
	must(t, db.ReleaseHeld(Start.Add(time.Hour), keysOf(records(3, 12))))
	if n, err := db.Expire(Start.Add(time.Minute)); err != nil || n != 3 || db.HeldStats().Kept != 9 || db.HeldStats().Waiting != 2 {
		t.Errorf("%d expired, %v, %+v", n, err, db.HeldStats())
	}
	if recs, _, err := db.HeldRecords(keysOf(records(0, 3)), math.MaxInt); err != nil || len(recs) != 0 {
		t.Errorf("expired, and there: %d, %v", len(recs), err)
	}
	testHeldWhole(t, db)
}

// testHeldWhole: a call is stored whole or not at all.
func testHeldWhole(t *testing.T, db Node) {
	bad := Record(1)
	bad.Result.Key.Node = ""
	if _, err := db.Hold("wuhan", []store.ResultRecord{Record(50), bad}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("without a node: %v", err)
	}
	if recs, _, err := db.HeldRecords(keysOf(records(50, 51)), math.MaxInt); err != nil || len(recs) != 0 {
		t.Errorf("half of a refused call was stored: %d, %v", len(recs), err)
	}
	must(t, db.ReleaseHeld(Start, nil))
}

func testHeldSpool(t *testing.T, db Node) {
	for n := range 10 {
		must(t, db.AddResult(Record(n), true))
	}
	must(t, db.Release(Record(2).Result.Key))
	keys, next, err := db.SpoolKeys(0, 4)
	must(t, err)
	equal(t, "spooled", keys, []probe.Key{Record(0).Result.Key, Record(1).Result.Key, Record(3).Result.Key, Record(4).Result.Key})
	keys, _, err = db.SpoolKeys(next, 100)
	must(t, err)
	equal(t, "spooled", keys, keysOf(records(5, 10)))
	held, _, next, err := db.HoldSpool("wuhan", 0, 4)
	must(t, err)
	equal(t, "held", held, []probe.Key{Record(0).Result.Key, Record(1).Result.Key, Record(3).Result.Key, Record(4).Result.Key})
	_, _, next, err = db.HoldSpool("wuhan", next, 100)
	must(t, err)
	if _, _, again, err := db.HoldSpool("wuhan", next, 100); err != nil || again != next || db.HeldStats().Waiting != 9 {
		t.Errorf("%d after %d, %v, %+v", again, next, err, db.HeldStats())
	}
	must(t, db.ReleaseHeld(Start, keys))
	_, known, _, err := db.HoldSpool("wuhan", 0, 100)
	must(t, err)
	equal(t, "delivered, and still spooled", known, keys)
	if db.HeldStats().Waiting != 4 {
		t.Errorf("what the registry has waits again: %+v", db.HeldStats())
	}
	recs, _, err := db.HeldRecords([]probe.Key{Record(2).Result.Key}, math.MaxInt) // not held, but an own result
	must(t, err)
	equal(t, "own record", recs, heldForm(Record(2)))
}

// testHeldGivenUp: what a node held for a city that it left was not delivered, and does not count as such when it comes
// again, in another city or the same.
func testHeldGivenUp(t *testing.T, db Node) {
	for n := range 3 {
		must(t, db.AddResult(Record(n), true))
	}
	_, _, _, err := db.HoldSpool("changsha", 0, 100)
	must(t, err)
	_, err = db.Hold("changsha", records(5, 8))
	must(t, err)
	_, err = db.Hold("wuhan", records(8, 9))
	must(t, err)
	must(t, db.LetGo(Start, "wuhan"))
	if s := db.HeldStats(); s.Waiting != 1 || s.Kept != 6 {
		t.Errorf("%+v", s)
	}
	held, known, _, err := db.HoldSpool("wuhan", 0, 100)
	must(t, err)
	equal(t, "held", held, keysOf(records(0, 3)))
	equal(t, "own, known", known, []probe.Key(nil))
	must(t, db.LetGo(Start, "changsha"))
	known, err = db.Hold("changsha", records(5, 8))
	must(t, err)
	equal(t, "known", known, []probe.Key(nil))
	got, err := db.HeldNext("changsha", 100, math.MaxInt, nobody)
	must(t, err)
	equal(t, "to be delivered", got, []probe.Result{Result(5), Result(6), Result(7)})
	if n, err := db.Expire(Start.Add(time.Hour)); err != nil || n != 4 || db.HeldStats().Waiting != 3 {
		t.Errorf("%d expired, %v, %+v", n, err, db.HeldStats())
	}
}

// testHeldRaces: many hold, release and recall at once; the check at the end of each test sees what came of it.
func testHeldRaces(t *testing.T, db Node) {
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			for i := range 20 {
				from := (i*3 + worker*5) % 40
				if _, err := db.Hold("wuhan", records(from, from+8)); err != nil {
					t.Error(err)
				}
				if recs, _, err := db.HeldRecords(keysOf(records(from, from+8)), math.MaxInt); err != nil || len(recs) != 8 {
					t.Errorf("acknowledged and not there: %d, %v", len(recs), err)
				}
				if err := db.ReleaseHeld(Start.Add(time.Duration(i)), keysOf(records(from, from+4))); err != nil {
					t.Error(err)
				}
				if _, err := db.Recall(1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func testName(t *testing.T, r Registry) {
	one, err := r.Name()
	must(t, err)
	two, err := r.Name()
	must(t, err)
	if len(one) != 32 || one != two {
		t.Errorf("names %q and %q", one, two)
	}
}
