package cmd

import (
	"io"
	"strings"

	"github.com/peerprobe/peerprobe/node/locate"
)

// chineseWriter is a stream to somebody who reads Chinese: tables and sentences name cities so. Formats for machines
// (JSON, CSV) have slugs in every language.
type chineseWriter struct{ io.Writer }

// localised is w for somebody with this environment.
func localised(w io.Writer, getenv func(string) string) io.Writer {
	for _, v := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if lang := getenv(v); lang != "" {
			if strings.HasPrefix(strings.ToLower(lang), "zh") {
				return chineseWriter{w}
			}
			return w
		}
	}
	return w
}

// cityIn is a city's name for who reads w: the slug, or 武汉 for wuhan.
func cityIn(w io.Writer, slug string) string {
	if _, ok := w.(chineseWriter); !ok {
		return slug
	}
	if country, ok := strings.CutSuffix(slug, "-"+locate.Unknown); ok {
		return strings.ToUpper(country) + " 未知"
	}
	return locate.Chinese(slug)
}

// placeIn is a place, a city with the evidence behind it, for who reads w.
func placeIn(w io.Writer, place string) string {
	city, evidence, found := strings.Cut(place, " ")
	if !found {
		return cityIn(w, city)
	}
	return cityIn(w, city) + " " + evidence
}

// cityColumns are the names of columns that hold slugs.
var cityColumns = map[string]bool{"city": true, "from": true, "to": true}
