package topologytest

import (
	"hash/maphash"

	"github.com/tidemill/tidemill/topology"
)

// EveryStep shows that crashes change nothing. It runs a script once undisturbed and then again and again, each time with a
// crash at another moment: after each processed record, in the middle of each commit and right after it; each with the disk
// kept, with the disk lost, and with an aborted transaction instead of a crash. The committed records of all topics and the
// rows of all stores must be the same in the end, ids and timestamps included.
//
// Commits in between come as CommitEvery says; each run ends with one. A topology with punctuators is not the same after a
// crash: they count their intervals anew.
func EveryStep(t TB, top *topology.Topology, script []func(*Driver), opts ...Option) {
	t.Helper()
	reference := start(t, top, opts)
	reference.play(script)
	seed := maphash.MakeSeed()
	want, moments := reference.digest(seed), reference.instants
	faults := []struct {
		name  string
		crash func(*Driver)
	}{
		{"a crash, disk kept", func(d *Driver) { d.restart(false) }},
		{"a crash, disk lost", func(d *Driver) { d.restart(true) }},
		{"an abort", func(d *Driver) { d.abort() }},
	}
	for _, fault := range faults {
		for moment := range moments {
			d := start(t, top, opts)
			d.crashAt, d.crash = moment, func() { fault.crash(d) }
			d.play(script)
			if d.digest(seed) != want {
				t.Errorf("topologytest: %s at moment %d of %d changes the outcome: %s", fault.name, moment+1, moments, firstDifference(reference.Snapshot(), d.Snapshot()))
				break
			}
		}
	}
}

func (d *Driver) play(script []func(*Driver)) {
	for _, step := range script {
		step(d)
	}
	d.Commit()
}
