package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/node"
)

func TestLocate(t *testing.T) {
	sites := filepath.Join(t.TempDir(), "sites")
	if err := os.WriteFile(sites, []byte("10.9.0.0/16 lab-a 28.2,112.97\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		code int
		want []string // in stdout, or in stderr where the code is not 0
	}{
		{[]string{"61.187.64.7"}, 0, []string{"61.187.64.7 is in changsha (china table)", "no map was given", "AS4134", "Changsha 长沙", "Hunan, CN"}},
		{[]string{"[::ffff:61.183.207.100]:7401"}, 0, []string{"is in wuhan"}},
		{[]string{"10.9.1.2", "--geo-map", sites}, 0, []string{"lab-a (map 10.9.0.0/16)", "is private: it is looked up in no table"}},
		{[]string{"10.1.2.3", "--city", "wuhn"}, 0, []string{"unknown (address is private, no city is known as \"wuhn\": did you mean wuhan"}},
		{[]string{"10.1.2.3", "--city", "武汉", "--trust-declared", "never"}, 0, []string{"unknown"}},
		{[]string{"武漢"}, 0, []string{"武漢 is wuhan (other name)", "Wuhan 武汉", "Hubei, CN", "30.5833,114.2667"}},
		{[]string{"suzhou"}, 0, []string{"suzhou-anhui"}},
		{[]string{"61.187.64.7", "-J"}, 0, []string{`"city": "changsha"`, `"source": "china"`, `"asn": 4134`, `"steps": [`}},
		{[]string{"suzhou", "-o", "csv"}, 0, []string{"city,name,chinese,country", "suzhou,Suzhou,苏州,CN,Jiangsu", "suzhou-anhui,Suzhou,宿州,CN,Anhui"}},
		{[]string{"61.187.64.7", "-o", "csv"}, 0, []string{"61.187.64.7,changsha,china,changsha,,false,public,CN,4134"}},
		{[]string{"wuhn"}, 1, []string{"did you mean wuhan"}},
		{[]string{strings.Repeat("武汉", 2000)}, 1, []string{"12000 bytes"}},
		{[]string{"\x1b[31mwuhn\x07"}, 1, []string{"no city is known"}},
		{[]string{"10.1.2.3", "--geo-map", sites + "x"}, 1, []string{"--geo-map"}},
		{[]string{"10.1.2.3", "--geoip", sites}, 1, []string{"--geoip", "bad MMDB file"}},
		{[]string{"10.1.2.3", "--trust-declared", "maybe"}, 1, []string{"never, fallback or always"}},
		{nil, 1, []string{"accepts 1 arg"}},
	} {
		r := newRunner(t)
		code := r.run(t, append([]string{"locate"}, tc.args...)...)
		out := r.out.String()
		if tc.code != 0 {
			out = r.err.String()
		}
		for _, want := range tc.want {
			if code != tc.code || !strings.Contains(out, want) {
				t.Errorf("%.40q: code %d, want %d; %q is not in\n%s%s", tc.args, code, tc.code, want, r.out.String(), r.err.String())
			}
		}
		if strings.ContainsAny(r.out.String()+r.err.String(), "\x1b\x07") {
			t.Errorf("%q: control characters come through", tc.args)
		}
	}
}

func TestPlaceErrors(t *testing.T) {
	plain := func(s string) string { return s }
	count := func(slug string) int { return map[string]int{"changsha": 12, "beijing": 1}[slug] }
	for _, tc := range []struct {
		to    string
		alive []string
		want  string
	}{
		{"wuhan", []string{"beijing", "changsha"}, "no node in wuhan is online; nearest: changsha (293 km, 12 nodes)"},
		{"武汉", []string{"beijing"}, "no node in wuhan is online; nearest: beijing (1055 km, 1 node)"},
		{"wuhan", []string{"lab-a", "lab-b"}, "no node in wuhan is online; online: lab-a, lab-b"},
		{"wuhn", []string{"changsha", "wuhan"}, `no place is known as "wuhn": did you mean wuhan?; online: changsha, wuhan`},
		{"wuhn", []string{"changsha"}, `did you mean wuhan or wuhu?; online: changsha`},
		{"labor-a", []string{"labor-b", "x"}, `no place is known as "labor-a": did you mean labor-b?`},
		{"qqqqqqqq", []string{"changsha"}, `no place is known as "qqqqqqqq"; online: changsha`},
		{"wuhan", nil, "no other city is online either"},
		{"WUHAN", []string{"wuhan"}, "try again"},
		{"xyz", strings.Fields("a1 a2 a3 a4 a5 a6 a7 a8 a9 b1 b2 b3"), "b1, 2 more"},
	} {
		err := placeError(tc.to, tc.alive, count, plain)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s among %v: %v, want %q", tc.to, tc.alive, err, tc.want)
		}
	}
}

// With a Chinese locale tables and sentences name cities in Chinese; formats for machines do not.
func TestChineseOutput(t *testing.T) {
	run := func(args ...string) (string, string) {
		r := filledRunner(t)
		r.node.measurement, r.node.err = sampleMeasurement(), nil
		if args[0] == "measure" && args[2] == "武汉" {
			r.node.measurement, r.node.err = nil, &node.PlaceError{Place: "武汉", Alive: []string{"changsha"}}
		}
		r.env["LANG"] = "zh_CN.UTF-8"
		r.run(t, args...)
		return r.out.String(), r.err.String()
	}
	for _, tc := range []struct {
		args []string
		want string
		not  string
	}{
		{[]string{"measure", "--to", "wuhan"}, "长沙", "changsha"},
		{[]string{"nodes"}, "长沙", ""},
		{[]string{"clusters"}, "长沙", ""},
		{[]string{"status"}, "长沙", ""},
		{[]string{"results"}, "长沙", ""},
		{[]string{"locate", "61.187.64.7"}, "61.187.64.7 is in 长沙 (china table)", ""},
		{[]string{"nodes", "-J"}, `"city": "changsha"`, "长沙"},
		{[]string{"nodes", "-o", "csv"}, "changsha", "长沙"},
	} {
		out, _ := run(tc.args...)
		if !strings.Contains(out, tc.want) || tc.not != "" && strings.Contains(out, tc.not) {
			t.Errorf("%v: want %q and not %q in\n%s", tc.args, tc.want, tc.not, out)
		}
	}
	if _, said := run("measure", "--to", "武汉"); !strings.Contains(said, "no node in 武汉 is online; nearest: 长沙 (293 km") {
		t.Errorf("the error is %q", said)
	}
	for env, want := range map[string]bool{"LC_ALL=zh_TW LANG=en_US": true, "LC_ALL=en_US LANG=zh_CN": false, "": false, "LANG=zh": true} {
		vars := map[string]string{}
		for _, v := range strings.Fields(env) {
			k, val, _ := strings.Cut(v, "=")
			vars[k] = val
		}
		if _, ok := localised(os.Stdout, func(k string) string { return vars[k] }).(chineseWriter); ok != want {
			t.Errorf("%q: Chinese is %v", env, ok)
		}
	}
}

func TestRSPlace(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"10.1.0.0/16", "武汉"}, 0, "10.1.0.0/16 is in wuhan"},
		{[]string{"12D3KooWGRUQQmvTNaJqkzDkGrEZ8zHrVPYmUEh1ZJbdHxBHVxGz", "nowhere at all"}, 1, "no city is known"},
		{[]string{"10.2.0.0/16", "lab-a"}, 1, "--geo-map"},
		{[]string{"10.2.0.0/16", "lab-a", "--own"}, 0, "lab-a"},
		{nil, 0, "wuhan"},
		{[]string{"-J"}, 0, `"what": "10.2.0.0/16"`},
		{[]string{"--remove", "10.1.0.0/16"}, 0, ""},
		{[]string{"--remove", "10.1.0.0/16"}, 1, "there is none"},
		{[]string{"10.1.0.0/16"}, 1, "and a city"},
	} {
		r := newRunner(t)
		code := r.run(t, append([]string{"rs", "place", "--data", dir}, tc.args...)...)
		if out := r.out.String() + r.err.String(); code != tc.code || !strings.Contains(out, tc.want) {
			t.Errorf("%v: code %d, want %d and %q: %s", tc.args, code, tc.code, tc.want, out)
		}
	}
}
