package commit

import "time"

// pacer decides how long a batch may grow. Under light load a commit follows the work at once; under load the interval
// follows the last batch's size, so that a transaction's fixed cost is shared by many records.
type pacer struct {
	max     time.Duration
	last    time.Time
	records int
}

// perRecord is how long a batch grows for each record of the one before: 1000 records make 10 ms.
const perRecord = 10 * time.Microsecond

func (p *pacer) sealed(now time.Time, records int) { p.last, p.records = now, records }

func (p *pacer) delay(now time.Time) time.Duration {
	interval := min(time.Duration(p.records)*perRecord, p.max)
	return interval - now.Sub(p.last)
}
