//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
)

// runner is to the lab what a test is: it fails, and cleans up.
type runner struct {
	cleanups []func()
	errs     []error
}

// failure is what Fatalf panics with.
type failure struct{ error }

func (r *runner) Helper()          {}
func (r *runner) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *runner) Failed() bool     { return len(r.errs) > 0 }

func (r *runner) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "faults: "+format+"\n", args...)
}

func (r *runner) Errorf(format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

func (r *runner) Fatalf(format string, args ...any) {
	panic(failure{fmt.Errorf(format, args...)})
}

// end cleans up, last first, and returns what failed; why is what a recover returned.
func (r *runner) end(why any) error {
	r.note(why)
	for len(r.cleanups) > 0 {
		last := r.cleanups[len(r.cleanups)-1]
		r.cleanups = r.cleanups[:len(r.cleanups)-1]
		func() {
			defer func() { r.note(recover()) }()
			last()
		}()
	}
	return errors.Join(r.errs...)
}

func (r *runner) note(why any) {
	if f, ok := why.(failure); ok {
		r.errs = append(r.errs, f.error)
	} else if why != nil {
		panic(why)
	}
}
