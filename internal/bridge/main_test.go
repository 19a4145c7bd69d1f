package bridge_test

import (
	"testing"

	"github.com/tidemill/tidemill/internal/kafkatest"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }
