// Package sim is the seeded fault simulator: the real tasks (package task), the real commit protocol (commit.Session), the
// real order of a transaction (package transact), the real mending of what coordinators leave undecided (package settle) and
// the real decisions of a restore (package restore) run on coroutines in virtual time, against simulated brokers, a simulated
// network, simulated disks and a nemesis. One seed is one run, exactly:
//
//	go test ./internal/sim -sim.seed=N
//
// Simulated are: partitions with transactions whose markers land at different times, or never, where a partition of records
// or of the group's offsets has no leader at that moment and the coordinator takes it for deleted (KAFKA-20734; others wait
// for a leader): what was left out is then decided by the producer's next marker; records that come late and are taken for
// part of what is still open (KIP-890 asks with the first record only); the last stable offset, compaction; transactional ids
// with epochs, fencing, time-outs and (in most runs) KIP-890; the group's generations, static members (KIP-345), stable and
// pending offsets (KIP-447); requests that are lost, answered in vain, carried out twice or late, slow; one to three
// instances (and more that come) that are killed in the middle of anything, stopped and continued, cut off, drained, replaced
// while they live on; disks that are slow, fail, are lost, or come back from a loss of power with an earlier state; clocks
// that jump; days that pass.
//
// What must hold is checked while it runs and at its end (check.go): each accepted command has exactly one event, with the
// same id in every attempt; a key's events are in order; at every committed point the outputs and the changelog are those of
// the sequential model; a store equals the fold of its changelog up to its checkpoint, whenever it is written; committed
// offsets and sequences never go back; in the end everything is processed, within a bound, and no transaction is open, by its
// coordinator's account or that of any partition.
//
// Not simulated, and so not shown here: package bridge's own loop round a session and its clients (process.go, session.go,
// client.go and network.go follow them, line for line where it matters, but are not they); goka and sarama; the committing
// goroutine's waiting and pacing and the back-pressure (Session.Run and waitForRoom: their parts are driven one by one);
// brokers that crash or lose data, and with them transactions that end half (commit.ErrTorn); late requests to brokers
// without KIP-890, whose hanging transactions are known; principals that may not read what they write; at least once; several
// sub-topologies; standbys and views. A torn write leaves what package store makes of one, as its own tests show of LevelDB:
// the state before that batch, or a store that is found corrupt and is gone.
package sim
