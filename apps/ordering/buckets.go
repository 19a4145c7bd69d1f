package ordering

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/apps/service"
)

// Bucket is one of the three groups of orders by their price.
type Bucket string

// The buckets.
const (
	Cheap      Bucket = "CHEAP"
	Affordable Bucket = "AFFORDABLE"
	Expensive  Bucket = "EXPENSIVE"
)

// buckets are all of them, from the lowest prices to the highest.
var buckets = [...]Bucket{Cheap, Affordable, Expensive}

// parseBucket reads a bucket's name in any case.
func parseBucket(text string) (Bucket, error) {
	for _, bucket := range buckets {
		if strings.EqualFold(text, string(bucket)) {
			return bucket, nil
		}
	}
	return "", fmt.Errorf("%.40q is not a bucket; there are CHEAP, AFFORDABLE and EXPENSIVE", text)
}

// Thresholds are the prices that part the buckets: cheap is below From, affordable from From to To, both included, and
// expensive above To. They are part of the query application's name: other thresholds are another application, which
// builds its tables from the log.
type Thresholds struct {
	From, To Money
}

// DefaultThresholds returns the texts': £5.00 and £50.00.
func DefaultThresholds() Thresholds { return Thresholds{From: 5_00, To: 50_00} }

// ParseThresholds reads thresholds such as "5.00" and "50.00".
func ParseThresholds(from, to string) (Thresholds, error) {
	var t Thresholds
	var err, err2 error
	t.From, err = ParsePrice(from)
	t.To, err2 = ParsePrice(to)
	if err = errors.Join(err, err2); err != nil {
		return t, fmt.Errorf("%w: the thresholds of the buckets: %w", service.ErrConfig, err)
	}
	return t, t.validate()
}

func (t Thresholds) validate() error {
	if t.From <= 0 || t.To < t.From || t.To >= MaxPrice {
		return fmt.Errorf("%w: the thresholds of the buckets are %s and %s; want 0 < first ≤ second < %s", service.ErrConfig, t.From, t.To, MaxPrice)
	}
	return nil
}

// Bucket returns the bucket of a price.
func (t Thresholds) Bucket(price Money) Bucket {
	switch {
	case price < t.From:
		return Cheap
	case price <= t.To:
		return Affordable
	}
	return Expensive
}

// Application returns the name of the query application with these thresholds, in pence: "ordering-query-500-5000".
func (t Thresholds) Application() string {
	return fmt.Sprintf("ordering-query-%d-%d", int64(t.From), int64(t.To))
}
