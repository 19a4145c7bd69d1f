package plot_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/bench/plot"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

var charts = map[string]plot.Chart{
	"keys": {
		Title: "CPU a command over keys", X: "keys", Y: "µs", LogX: true,
		Series: []plot.Series{
			{Name: "Tidemill", Points: []plot.Point{{X: 1e6, Y: 9, Low: 8, High: 11}, {X: 1e3, Y: 6, Low: 6, High: 6}}},
			{Name: "a < b & c", Points: []plot.Point{{X: 1e3, Y: 24}, {X: 1e6, Y: 31}}},
		},
	},
	"one-point": {Title: "one", X: "x", Y: "y", Series: []plot.Series{{Name: "s", Points: []plot.Point{{X: 4, Y: 0}}}}},
	"empty":     {Title: "none", X: "x", Y: "y", LogX: true},
}

func TestSVG(t *testing.T) {
	for name, chart := range charts {
		t.Run(name, func(t *testing.T) {
			got := chart.SVG()
			wellFormed(t, got)
			if strings.Contains(got, "NaN") || strings.Contains(got, "Inf") {
				t.Errorf("a coordinate is no number:\n%s", got)
			}
			file := filepath.Join("testdata", name+".svg")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("it differs from %s (rewrite it with -update):\n%s", file, got)
			}
		})
	}
}

func wellFormed(t *testing.T, text string) {
	t.Helper()
	for decoder := xml.NewDecoder(strings.NewReader(text)); ; {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
