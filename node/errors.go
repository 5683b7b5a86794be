package node

import (
	"errors"
	"strings"
)

// joinedError is several errors in one line: for people, who read errors in sentences.
type joinedError []error

func (e joinedError) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e joinedError) Unwrap() []error { return e }

// joined is errors.Join in one line.
func joined(errs []error) error {
	switch len(errs) {
	case 0:
		return errors.New("nobody to ask")
	case 1:
		return errs[0]
	}
	return joinedError(errs)
}
