package codectest_test

import (
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/codecs/codectest"
)

func ExampleConform() {
	_ = func(t *testing.T) { // TestMyCodec
		codectest.Conform(t, codecs.Int64(), 0, 1, -1)
	}
	_ = func(f *testing.F) { // FuzzMyCodec
		f.Fuzz(func(t *testing.T, data []byte) { codectest.Stable(t, codecs.Int64(), data) })
	}
	// Output:
}
