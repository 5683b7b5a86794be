//go:build !nogeo

package locate

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	for want, names := range map[string][]string{
		"wuhan":            {"wuhan", "武汉", "武漢", "WUH", "武汉市", "Ｗｕｈａｎ", "Wuhan Shi"},
		"changsha":         {"长沙", "長沙", "csx", "长沙市"},
		"beijing":          {"peking", "BEIJING", "PEK", "北京", "北京市"},
		"munich":           {"munich", "muenchen", "München", "MÜNCHEN", "慕尼黑", "muc"},
		"new-york":         {"nyc", "New York", "new york city", "JFK", "纽约"},
		"mumbai":           {"bombay", "孟买"},
		"kyiv":             {"kiev", "Kyiv", "基辅"},
		"sao-paulo":        {"São Paulo", "SAO PAULO", "são-paulo", "GRU", "圣保罗"},
		"xian":             {"Xi'an", "Xi’an", "西安", "XIY"},
		"suzhou":           {"suzhou", "苏州", "蘇州", "昆山", "Kunshan"},
		"suzhou-anhui":     {"宿州", "suzhou-anhui", "Suzhou (Anhui)"},
		"fuzhou":           {"福州"},
		"fuzhou-jiangxi":   {"抚州"},
		"taizhou":          {"泰州"},
		"taizhou-zhejiang": {"台州"},
		"yulin-shaanxi":    {"榆林", "UYN"},
		"jishou":           {"湘西", "湘西州", "吉首", "湘西土家族苗族自治州", "Xiangxi"},
		"jinhua":           {"yiwu", "义乌"},
		"london":           {"london", "LHR", "伦敦"},
		"london-ca":        {"London-CA"},
		"urumqi":           {"Ürümqi", "乌鲁木齐", "Urumchi"},
		"tokyo":            {"东京", "東京", "HND"},
		"hong-kong":        {"香港", "HKG"},
	} {
		for _, name := range names {
			if m, ok := Resolve(name); !ok || m.Slug != want {
				t.Errorf("%q is %q (%v), want %q", name, m.Slug, ok, want)
			}
			if got, err := City(name); err != nil || got != want {
				t.Errorf("City(%q) is %q (%v), want %q", name, got, err, want)
			}
		}
	}
	for _, name := range []string{"", "lab-a", "Lab B", "dc1", "berlin-dc2", "site-a", "city-0", "nowhere", "wuhn",
		strings.Repeat("wuhan ", 2000), "\x00", "\xff", "武\x00汉\xff", "海南省"} {
		if m, ok := Resolve(name); ok {
			t.Errorf("%.40q is %s", name, m.Slug)
		}
	}
}

func TestAmbiguousNames(t *testing.T) {
	m, ok := Resolve("suzhou")
	if !ok || len(m.Others) != 1 || m.Others[0].Slug != "suzhou-anhui" || m.Others[0].Region != "Anhui" {
		t.Errorf("suzhou is %+v", m)
	}
	if m, _ = Resolve("london"); m.Country != "GB" || !slices.ContainsFunc(m.Others, func(p Place) bool { return p.Slug == "london-ca" }) {
		t.Errorf("london is %+v", m)
	}
	if m, _ = Resolve("苏州"); len(m.Others) != 0 {
		t.Errorf("苏州 is one city only: %+v", m.Others)
	}
}

// A name of its own beats a name that another city has in some language.
func TestOwnNameBeatsAlias(t *testing.T) {
	g := cities()
	for i := range g.ends {
		from, to := g.find(g.key(i))
		if g.kinds[from] > g.kinds[to-1] {
			t.Fatalf("%q: the kinds are %v", g.key(i), g.kinds[from:to])
		}
	}
	if m, _ := Resolve("Paris"); m.Country != "FR" {
		t.Errorf("Paris is %+v", m)
	}
}

func TestEverySlugResolvesToItself(t *testing.T) {
	g := cities()
	seen := make(map[string]bool)
	for i := range g.rows {
		p := g.place(i)
		if m, ok := Resolve(p.Slug); !ok || m.ID != p.ID || m.Kind != NameSlug {
			t.Errorf("%s (%d) resolves to %s (%d)", p.Slug, p.ID, m.Slug, m.ID)
		}
		if got, err := City(p.Slug); err != nil || got != p.Slug || Slug(p.Slug) != p.Slug {
			t.Errorf("City(%s) is %s, %v", p.Slug, got, err)
		}
		if q, ok := BySlug(p.Slug); !ok || q != p {
			t.Errorf("BySlug(%s) is %+v", p.Slug, q)
		}
		if seen[p.Slug] || IsUnknown(p.Slug) || len(p.Slug) > MaxSlug {
			t.Errorf("%s is there twice, or too long, or reserved", p.Slug)
		}
		seen[p.Slug] = true
		if len(p.Country) != 2 || p.Name == "" || p.At == (Coordinates{}) {
			t.Errorf("%+v", p)
		}
		// A name by itself leads to the city, or to a larger one that has it too.
		if m, ok := Resolve(p.Name); !ok || m.ID != p.ID && m.People < p.People {
			t.Errorf("%q of %s leads to %s", p.Name, p.Slug, m.Slug)
		}
		if p.Chinese != "" {
			if m, ok := Resolve(p.Chinese); !ok || m.ID != p.ID && m.People < p.People && m.Country != "CN" {
				t.Errorf("%q of %s leads to %s", p.Chinese, p.Slug, m.Slug)
			}
		}
	}
	if len(seen) < 5000 {
		t.Errorf("%d cities", len(seen))
	}
}

// gbProvinces: the first two digits of a code, and the region of the table.
var gbProvinces = map[string]string{
	"11": "Beijing", "12": "Tianjin", "13": "Hebei", "14": "Shanxi", "15": "Inner Mongolia", "21": "Liaoning", "22": "Jilin",
	"23": "Heilongjiang", "31": "Shanghai", "32": "Jiangsu", "33": "Zhejiang", "34": "Anhui", "35": "Fujian", "36": "Jiangxi",
	"37": "Shandong", "41": "Henan", "42": "Hubei", "43": "Hunan", "44": "Guangdong", "45": "Guangxi", "46": "Hainan",
	"50": "Chongqing", "51": "Sichuan", "52": "Guizhou", "53": "Yunnan", "54": "Tibet", "61": "Shaanxi", "62": "Gansu",
	"63": "Qinghai", "64": "Ningxia", "65": "Xinjiang",
}

// At least 98 % of the prefectures of a list that the generator does not use are a city, in the right province, no
// two the same.
func TestPrefecturesOfGBT2260(t *testing.T) {
	f, err := os.Open("testdata/gbt2260.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, right := 0, 0
	taken := make(map[string]string)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		c := strings.Split(sc.Text(), "\t")
		all++
		m, ok := Resolve(c[1])
		switch {
		case !ok:
			t.Logf("%s %s resolves to nothing", c[0], c[1])
		case m.Country != "CN" || m.Region != gbProvinces[c[0][:2]]:
			t.Logf("%s %s is %s in %s", c[0], c[1], m.Slug, m.Region)
		case taken[m.Slug] != "":
			t.Logf("%s %s is %s, as %s", c[0], c[1], m.Slug, taken[m.Slug])
		default:
			right++
			taken[m.Slug] = c[1]
		}
	}
	t.Logf("%d of %d", right, all)
	if all < 330 || float64(right) < 0.98*float64(all) {
		t.Errorf("%d of %d prefectures resolve to a city of their own", right, all)
	}
}

func TestSuggest(t *testing.T) {
	for name, want := range map[string]string{
		"chngsha": "changsha", "wuhn": "wuhan", "whuan": "wuhan", "beijin": "beijing", "londno": "london", "New Yrok": "new-york",
		"武含": "wuhan", "sao paolo": "sao-paulo",
	} {
		got := Suggest(name, 3)
		if len(got) == 0 || got[0] != want {
			t.Errorf("%q: %v, want %s first", name, got, want)
		}
	}
	for _, name := range []string{"", "x", "qqqqqqqqqqqq", strings.Repeat("wuhan", 2000), "\xff", "\x00\x01"} {
		if got := Suggest(name, 3); len(got) > 0 {
			t.Errorf("%.20q: %v", name, got)
		}
	}
}

func TestNearest(t *testing.T) {
	near := Nearest("wuhan", []string{"beijing", "lab-a", "changsha", "wuhan", "cn-unknown"})
	if len(near) != 2 || near[0].Slug != "changsha" || near[1].Slug != "beijing" {
		t.Fatalf("nearest to wuhan: %v", near)
	}
	if near[0].Km < 292 || near[0].Km > 294 {
		t.Errorf("Changsha to Wuhan is %.1f km, 293 by the atlas", near[0].Km)
	}
	if ms := LightMs(near[0].Km); ms < 2.92 || ms > 2.94 {
		t.Errorf("light takes %.3f ms, 2.93 by the rule km/100", ms)
	}
	if _, ok := Between("wuhan", "lab-a"); ok {
		t.Error("a place of one's own is at no distance")
	}
	if Nearest("lab-a", []string{"wuhan"}) != nil {
		t.Error("something is near to nowhere")
	}
	if got := Chinese("wuhan") + Chinese("lab-a"); got != "武汉lab-a" {
		t.Errorf("got %q", got)
	}
}

func BenchmarkResolve(b *testing.B) {
	Resolve("wuhan")
	for b.Loop() {
		Resolve("São Paulo")
	}
}

func BenchmarkSuggest(b *testing.B) {
	for b.Loop() {
		Suggest("chngsha", 3)
	}
}
