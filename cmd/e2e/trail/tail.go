package trail

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"os"
	"slices"
)

// Tail reads logs while they grow.
type Tail struct {
	files  []*tailed
	events []Event
}

type tailed struct {
	name string
	at   int64 // bytes read
	line int
}

// Add makes another log part of it. The file need not be there yet.
func (t *Tail) Add(file string) { t.files = append(t.files, &tailed{name: file}) }

// Events are all complete lines so far, merged as Read does. The slice belongs to the caller until the next call.
func (t *Tail) Events() ([]Event, error) {
	before := len(t.events)
	for _, f := range t.files {
		if err := t.more(f); err != nil {
			return nil, err
		}
	}
	if len(t.events) > before {
		slices.SortStableFunc(t.events, func(a, b Event) int { return cmp.Compare(a.Mono, b.Mono) })
	}
	return t.events, nil
}

func (t *Tail) more(f *tailed) error {
	file, err := os.Open(f.name)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := io.ReadAll(io.NewSectionReader(file, f.at, 1<<62))
	if err != nil {
		return err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1] // the rest is not written yet
	f.at += int64(len(text))
	for line := range bytes.Lines(text) {
		f.line++
		e := Event{File: f.name, Line: f.line}
		if json.Unmarshal(line, &e) == nil {
			t.events = append(t.events, e)
		}
	}
	return nil
}
