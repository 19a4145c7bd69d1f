package broker_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The topics of these tests: a transaction numbered n writes n to every
// partition of out and moves the group to offset n of in.
const (
	in, out, group = "in", "out", "app"
	parts          = 4
)

func transact(t testing.TB, p *log.TxnProducer, partitions int32, n int64) (log.Outcome, error) {
	t.Helper()
	if err := p.Begin(); err != nil {
		return log.Aborted, err
	}
	for q := range partitions {
		ok(t, p.ProduceTo(&kgo.Record{Topic: out, Value: []byte(strconv.FormatInt(n, 10))}, q))
	}
	err := p.Flush(t.Context())
	if err == nil {
		err = p.CommitOffsets(t.Context(), log.Member{Group: group, Generation: -1}, log.Positions{
			in: {0: {Offset: n, LeaderEpoch: -1, Metadata: "seq " + strconv.FormatInt(n, 10)}, 1: {Offset: n, LeaderEpoch: -1}},
		})
	}
	outcome, ending := p.End(t.Context(), err == nil)
	return outcome, errors.Join(err, ending)
}

// copyDir copies a data directory as a kill would leave it.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	ok(t, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return copyFile(path, filepath.Join(to, rel))
	}))
}

// copyFile writes into a file that is there, so that it stays the same file.
func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// checkWhole reads what is committed: the group's offset must be the number of
// the last transaction in every partition, and each number there once.
func checkWhole(t testing.TB, addr string, partitions int32, want int64) {
	t.Helper()
	a := newAdmin(t, addr)
	defer a.Close()
	at, err := a.CommittedOffsets(t.Context(), group, true, in)
	ok(t, err)
	for q := range int32(2) {
		if got := at[in][q].Offset; got != want {
			t.Errorf("the group is at %d in partition %d, want %d", got, q, want)
		}
	}
	if got := at[in][0].Metadata; want > 0 && got != fmt.Sprint("seq ", want) {
		t.Errorf("the group's metadata is %q", got)
	}
	seen := make([][]int64, partitions)
	b := kafkatest.At(addr)
	for _, r := range b.ReadAll(t, out, true) {
		n, err := strconv.ParseInt(string(r.Value), 10, 64)
		ok(t, err)
		seen[r.Partition] = append(seen[r.Partition], n)
	}
	for q, numbers := range seen {
		for i, n := range numbers {
			if n != int64(i+1) {
				t.Fatalf("partition %d has %v", q, numbers)
			}
		}
		if int64(len(numbers)) != want {
			t.Errorf("partition %d has %d transactions, want %d", q, len(numbers), want)
		}
	}
}

// TestEveryInstantOfACommit cuts the writes of a commit after each of them, and
// the last one in half, and looks at what the next start makes of it.
func TestEveryInstantOfACommit(t *testing.T) {
	for _, older := range []bool{false, true} {
		t.Run(fmt.Sprintf("older protocol=%v", older), func(t *testing.T) { cutCommit(t, older) })
	}
}

func cutCommit(t *testing.T, older bool) {
	root := t.TempDir()
	live, before, after := filepath.Join(root, "live"), filepath.Join(root, "before"), filepath.Join(root, "after")
	b := start(t, broker.Options{Dir: live})
	kt := kafkatest.At(b.Addr())
	kt.CreateTopic(t, in, 2, nil)
	kt.CreateTopic(t, out, parts, nil)
	p, other := newProducer(t, b.Addr(), "tx"), newProducer(t, b.Addr(), "other")
	if older { // a producer that ends its transactions without a new epoch
		p = olderProducer(t, b.Addr())
	}
	for n := int64(1); n <= 2; n++ {
		if o, err := transact(t, p, parts, n); o != log.Committed {
			t.Fatal(o, err)
		}
	}
	ok(t, other.Begin()) // is open throughout, and must come to nothing
	ok(t, other.ProduceTo(&kgo.Record{Topic: out, Value: []byte("1000")}, 1))
	ok(t, other.Flush(t.Context()))

	// The third one, stopped before its end.
	ok(t, p.Begin())
	for q := range int32(parts) {
		ok(t, p.ProduceTo(&kgo.Record{Topic: out, Value: []byte("3")}, q))
	}
	ok(t, p.Flush(t.Context()))
	ok(t, p.CommitOffsets(t.Context(), log.Member{Group: group, Generation: -1}, log.Positions{
		in: {0: {Offset: 3, LeaderEpoch: -1, Metadata: "seq 3"}, 1: {Offset: 3, LeaderEpoch: -1}},
	}))
	copyDir(t, live, before)
	if o, err := p.End(t.Context(), true); o != log.Committed {
		t.Fatal(o, err)
	}
	copyDir(t, live, after)

	cuts := commitWrites(t, before, after)
	for cut := range len(cuts) + 1 {
		for _, half := range []bool{false, true} {
			if half && cut == len(cuts) {
				continue
			}
			dir := filepath.Join(root, fmt.Sprintf("cut-%d-%v", cut, half))
			// The note names the log of producers by its inode: renaming keeps it.
			copyDir(t, before, dir)
			renote(t, dir, after)
			for _, write := range cuts[:cut] {
				write(t, dir, false)
			}
			if half {
				cuts[cut](t, dir, true)
			}
			t.Run(filepath.Base(dir), func(t *testing.T) {
				again := start(t, broker.Options{Dir: dir})
				want := int64(3)
				if cut == 0 {
					want = 2 // not even the note was written
				}
				checkWhole(t, again.Addr(), parts, want)
				// What follows must work, and survive the next kill.
				next := newProducer(t, again.Addr(), "tx")
				if o, err := transact(t, next, parts, want+1); o != log.Committed {
					t.Fatal(o, err)
				}
				twice := dir + "-again"
				copyDir(t, dir, twice)
				checkWhole(t, start(t, broker.Options{Dir: twice}).Addr(), parts, want+1)
			})
		}
	}
}

// olderProducer speaks EndTxn as before Kafka 4.
func olderProducer(t *testing.T, addr string) *log.TxnProducer {
	t.Helper()
	p, err := log.NewTxnProducer(config(addr), "tx", 10*time.Second, kgo.MaxVersions(olderVersions()))
	ok(t, err)
	t.Cleanup(p.Close)
	ok(t, p.Init(t.Context()))
	return p
}

// TestKilledBroker kills the broker's process in the middle of transactions over
// many partitions and goes on with the same producer.
func TestKilledBroker(t *testing.T) {
	const wide = 100
	p := kafkatest.EmbeddedOwn(t, kafkatest.Options{})
	p.CreateTopic(t, in, 2, nil)
	p.CreateTopic(t, out, wide, nil)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	kills := make(chan struct{})
	go func() {
		defer close(kills)
		for range rounds {
			time.Sleep(time.Duration(20+random.IntN(60)) * time.Millisecond)
			p.Kill9(t)
			p.Start(t)
		}
	}()
	producers := []*log.TxnProducer{newProducer(t, p.Addr(), "tx-0"), newProducer(t, p.Addr(), "tx-1")}
	a := newAdmin(t, p.Addr())
	var done int64
	unknown, killed := 0, false
	for turn := 0; !killed || turn%2 == 1; turn++ {
		select {
		case <-kills:
			killed = true
		default:
		}
		outcome, err := transact(t, producers[turn%2], wide, done+1)
		if outcome == log.Committed && err == nil {
			done++
			continue
		}
		if outcome == log.Unknown {
			unknown++
		}
		recovered := resolve(t, a, producers)
		if outcome == log.Aborted && recovered != done || recovered < done || recovered > done+1 {
			t.Fatalf("transaction %d was %s (%v), and then the group is at %d", done+1, outcome, err, recovered)
		}
		done = recovered
	}
	t.Logf("%d transactions, %d of unknown outcome, in %d kills", done, unknown, rounds)
	checkWhole(t, p.Addr(), wide, done)
}

// resolve does what a processor does after an error: it initialises its ids again
// and asks where the group stands.
func resolve(t *testing.T, a *log.Admin, producers []*log.TxnProducer) int64 {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		var errs []error
		for _, p := range producers {
			errs = append(errs, p.Reinit(t.Context()))
		}
		at, err := a.CommittedOffsets(t.Context(), group, true, in)
		if err = errors.Join(append(errs, err)...); err == nil {
			return at[in][0].Offset
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestCleanStopLeavesOpenTransactionsToTheirProducers(t *testing.T) {
	dir := t.TempDir()
	b, err := broker.Start(t.Context(), broker.Options{Dir: dir})
	ok(t, err)
	addr := b.Addr()
	kt := kafkatest.At(addr)
	kt.CreateTopic(t, in, 2, nil)
	kt.CreateTopic(t, out, parts, nil)
	p := newProducer(t, addr, "tx")
	ok(t, p.Begin())
	for q := range int32(parts) {
		ok(t, p.ProduceTo(&kgo.Record{Topic: out, Value: []byte("1")}, q))
	}
	ok(t, p.Flush(t.Context()))
	ok(t, b.Close())

	// A second run that is killed before anything is written: the transaction is
	// over, and holds nobody up.
	killed := filepath.Join(t.TempDir(), "killed")
	second, err := broker.Start(t.Context(), broker.Options{Dir: dir, Addr: addr})
	ok(t, err)
	copyDir(t, dir, killed)
	third := start(t, broker.Options{Dir: killed})
	a := newAdmin(t, third.Addr())
	stable, err := a.StableOffsets(t.Context(), out)
	ok(t, err)
	end, err := a.EndOffsets(t.Context(), out)
	ok(t, err)
	if !slices.Equal(values(stable[out]), values(end[out])) {
		t.Errorf("stable %v, end %v", stable, end)
	}
	checkWhole(t, third.Addr(), parts, 0)

	// In the second run itself the producer goes on where it was.
	if o, err := p.End(t.Context(), true); o != log.Committed {
		t.Fatal(o, err)
	}
	if got := len(kt.ReadAll(t, out, true)); got != parts {
		t.Errorf("%d records of the transaction that lived through a restart, want %d", got, parts)
	}
	ok(t, second.Close())
}

func values(m map[int32]int64) []int64 {
	var all []int64
	for q := range int32(len(m)) {
		all = append(all, m[q])
	}
	return all
}
