package topology_test

import (
	"fmt"
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
	"github.com/tidemill/tidemill/topology"
)

// BenchmarkStep measures what a task does for one record, without Kafka and the disk: decoding, the operator, encoding,
// the overlay. Commits fall outside the measured time.
func BenchmarkStep(b *testing.B) {
	for _, bench := range []struct {
		name   string
		define func(b *topology.Builder)
		record func(i int) task.Record
	}{
		{"decide", func(b *topology.Builder) {
			decided := b.From(counterCommands).Decide("sums", counter())
			decided.Events.To(counterEvents)
			decided.Rejections.To(counterRejections)
		}, func(i int) task.Record {
			return task.Record{Topic: "counter-commands", Value: fmt.Appendf(nil, `{"id":"command-%012d","key":"k","add":%d}`, i, 1+i%99)}
		}},
		{"count", func(b *topology.Builder) {
			b.From(textTopic("in")).GroupByKey().Count("counts").ToStream().To(topology.NewTopic("out", codecs.String(), codecs.Int64()))
		}, func(int) task.Record { return task.Record{Topic: "in", Value: []byte("some text")} }},
		{"filter-map-to", func(b *topology.Builder) {
			b.From(textTopic("in")).Filter(func(_, v string) bool { return v != "" }).
				MapValues(func(v string) int64 { return int64(len(v)) }).To(topology.NewTopic("out", codecs.String(), codecs.Int64()))
		}, func(int) task.Record { return task.Record{Topic: "in", Value: []byte("some text")} }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			builder := topology.New("bench")
			bench.define(builder)
			built, err := builder.Build()
			if err != nil {
				b.Fatal(err)
			}
			benchmarkStep(b, built, bench.record)
		})
	}
}

func benchmarkStep(b *testing.B, built *topology.Topology, record func(i int) task.Record) {
	const keys, perCommit = 10_000, 2_000
	base := store.NewMemory()
	run, err := task.New(task.Config{SubTopology: built.Graph().SubTopologies[0], Partitions: 1, Base: base})
	if err != nil {
		b.Fatal(err)
	}
	records := make([]task.Record, 0, perCommit)
	batch := store.NewBatch()
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		b.StopTimer()
		records = records[:0]
		for i := range min(perCommit, b.N-done) {
			r := record(done + i)
			r.Key, r.Offset, r.Timestamp = fmt.Appendf(nil, "key-%06d", (done+i)%keys), int64(done+i), int64(done+i)
			records = append(records, r)
		}
		b.StartTimer()
		for i := range records {
			if err := run.Step(records[i]); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		done += len(records)
		layer := run.Seal()
		batch.Reset()
		layer.Write(batch)
		if err := base.Apply(batch); err != nil {
			b.Fatal(err)
		}
		run.Committed()
		b.StartTimer()
	}
}
