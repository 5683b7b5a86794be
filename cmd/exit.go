package cmd

import (
	"errors"
	"fmt"
)

// Exit codes, a stable interface for scripts.
const (
	exitOK      = 0 // measured and within the gates; a partial result says so
	exitUsage   = 1 // usage, configuration, no such place
	exitNothing = 2 // measured nothing, a gate broke, or a drained node leads on
)

// codeError carries an exit code with what is to be said.
type codeError struct {
	code int
	err  error // nil: everything has been said already
}

func (e *codeError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *codeError) Unwrap() error { return e.err }

// nothing wraps err with the code for "measured nothing, or a gate broke".
func nothing(err error) error { return &codeError{code: exitNothing, err: err} }

// silent is a code without a message: what was to be said is on stderr already.
func silent(code int) error {
	if code == exitOK {
		return nil
	}
	return &codeError{code: code}
}

// exitCode is the code for what a command returned: 1 unless the error says otherwise.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if ce, ok := errors.AsType[*codeError](err); ok {
		return ce.code
	}
	return exitUsage
}

// message is what remains to be said of err; empty when all was said.
func message(err error) string {
	if ce, ok := errors.AsType[*codeError](err); ok && ce.err == nil {
		return ""
	}
	return err.Error()
}
