package probe

import (
	"runtime"
	"testing"

	"go.uber.org/goleak"
)

// hasTTL says whether the system gives TTLs to ListenUDP's sockets.
const hasTTL = runtime.GOOS == "linux"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
