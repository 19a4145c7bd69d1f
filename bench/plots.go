package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidemill/tidemill/bench/plot"
)

// curves are the charts of the documentation, by the name of their file and work.
var curves = map[string]plot.Chart{
	"keys":       {Title: "An update's cost over the number of keys", X: "keys (state is there; updates in random order)", Y: "µs a command", LogX: true},
	"partitions": {Title: "An update's cost over partitions", X: "partitions", Y: "µs a command", LogX: true},
	"instances":  {Title: "An update's cost over instances (12 partitions, 2 cores)", X: "instances", Y: "µs a command"},
	"sizes":      {Title: "A record's cost over the size of its value", X: "bytes of the value", Y: "µs a kilobyte and record", LogX: true},
}

// plots draws every curve that there are results of.
func (r *results) plots(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var errs []error
	for name, chart := range curves {
		for _, c := range works[name].contenders {
			for _, what := range []struct{ column, title string }{{"cpu_us", "CPU"}, {"wall_us", "wall"}} {
				series := plot.Series{Name: strings.Split(contenderTitle(c), ",")[0] + ": " + what.title}
				for _, point := range r.points(name, c) {
					if p, found := r.point(name, c, point, what.column); found {
						series.Points = append(series.Points, p)
					}
				}
				if name == "keys" && c == "tidemill" {
					series.Points = append(series.Points, r.largePoint(what.column)...)
				}
				if len(series.Points) > 0 {
					chart.Series = append(chart.Series, series)
				}
			}
		}
		if len(chart.Series) > 0 {
			errs = append(errs, os.WriteFile(filepath.Join(dir, name+".svg"), []byte(chart.SVG()), 0o644))
		}
	}
	return errors.Join(errs...)
}

// largePoint is the large state's point of the curve over keys, if it is measured.
func (r *results) largePoint(column string) []plot.Point {
	keys, found := r.median("large", "tidemill", "keys")
	y := r.values("large", "tidemill", column)
	middle, measured := middle(y)
	if !found || !measured || len(r.valuesAt("keys", "tidemill", int(keys), column)) > 0 {
		return nil
	}
	return []plot.Point{{X: keys, Y: middle, Low: y[0], High: y[len(y)-1]}}
}

// point is the median of a point's runs with their range. What depends on the size is shown for each kilobyte begun, else
// only the largest would be seen.
func (r *results) point(work, contender string, at int, column string) (plot.Point, bool) {
	list := r.valuesAt(work, contender, at, column)
	y, found := middle(list)
	if !found {
		return plot.Point{}, false
	}
	per := 1.0
	if work == "sizes" {
		per = max(1, float64(at)/1000)
	}
	return plot.Point{X: float64(at), Y: y / per, Low: list[0] / per, High: list[len(list)-1] / per}, true
}
