package keyfile

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const advice = "restore it"

func TestKeyIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	a, err := Load(path, "test key", advice)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != Mode {
		t.Errorf("%v, %v", st, err)
	}
	if b, err := Load(path, "test key", advice); err != nil || !a.Equal(b) {
		t.Errorf("loaded another key: %v", err)
	}
	if left, _ := filepath.Glob(path + ".new"); len(left) > 0 {
		t.Error("a half-written file is left")
	}
	if err := os.WriteFile(path+".new", []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(path, "test key", advice); err != nil || a.Equal(c) {
		t.Errorf("after a crash: %v", err)
	}
}

func TestBadKeys(t *testing.T) {
	for name, text := range map[string]string{
		"no PEM":    "hello",
		"no key":    "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n",
		"other key": rsaKey,
	} {
		path := filepath.Join(t.TempDir(), "network.key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path, "network key", advice); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), advice) {
			t.Errorf("%s: %v", name, err)
		}
		if got, _ := os.ReadFile(path); string(got) != text {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

// rsaKey is a P-256 key: of a kind that is not admitted.
const rsaKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2
OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r
1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G
-----END PRIVATE KEY-----
`

// A file that cannot be written is an error, and says which key it is.
func TestKeyCannotBeKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "such", "key")
	if _, err := Load(path, "test key", advice); err == nil || !strings.Contains(err.Error(), "test key") {
		t.Errorf("error %v", err)
	}
	if err := Write(path, nil); err == nil {
		t.Error("written into a directory that is not there")
	}
}
