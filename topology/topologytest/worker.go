package topologytest

import (
	"bytes"
	"fmt"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

// worker is one task with its disk and its place in the log.
type worker struct {
	sub       *graph.SubTopology
	partition int32
	log       *broker
	disk      store.Engine
	task      *task.Task
	positions map[string]int64 // next offset to step, by source topic
	// sealed is the layer being committed, lower the committed one that is not on the disk yet; changelogs are the offsets,
	// by store, that the disk then stands at.
	sealed, lower *task.Layer
	changelogs    map[string]int64
}

func newWorker(sub *graph.SubTopology, partition int32, log *broker) *worker {
	return &worker{sub: sub, partition: partition, log: log, disk: store.NewMemory()}
}

// boot starts the process: state is restored up to the last commit, input goes on from the committed offsets.
func (w *worker) boot() error {
	w.sealed, w.lower, w.positions, w.changelogs = nil, nil, map[string]int64{}, map[string]int64{}
	last, err := w.rewind()
	if err != nil {
		return err
	}
	for _, spec := range w.sub.Stores {
		if err := w.restore(spec, last); err != nil {
			return fmt.Errorf("restoring store %s/%d: %w", spec.Name, w.partition, err)
		}
	}
	w.task, err = task.New(task.Config{
		SubTopology: w.sub, Partition: w.partition, Partitions: w.log.count(w.sub.Sources[0].Topic.Name),
		Base: w.disk, Sequence: last.Sequence, StreamTime: last.StreamTime,
	})
	return err
}

// rewind sets the positions to the committed offsets and returns what their metadata says.
func (w *worker) rewind() (last meta.Offset, err error) {
	for _, source := range w.sub.Sources {
		offset, metadata, err := w.log.group(w.sub.Group, source.Topic.Name, w.partition)
		if err != nil {
			return last, err
		}
		w.positions[source.Topic.Name] = offset
		if metadata.Sequence > last.Sequence {
			last = metadata
		}
	}
	return last, nil
}

// restore reads a changelog from where the disk stands.
func (w *worker) restore(spec *graph.Store, last meta.Offset) error {
	from := int64(0)
	if checkpoint, ok := w.disk.Checkpoint(spec.Changelog); ok {
		from = checkpoint.Offset
	} else if err := w.disk.DeleteStore(spec.Name, spec.Changelog); err != nil {
		return err
	}
	batch := store.NewBatch()
	segment := w.log.segments(spec.Changelog)[w.partition]
	for {
		next, ok := segment.next(from)
		if !ok {
			break
		}
		if _, err := task.Restore(batch, spec, next.record, last.Sequence); err != nil {
			return err
		}
		from = next.record.Offset + 1
	}
	w.changelogs[spec.Name] = from
	w.setCheckpoint(batch, spec, last)
	return w.disk.Apply(batch)
}

func (w *worker) setCheckpoint(batch *store.Batch, spec *graph.Store, last meta.Offset) {
	batch.SetCheckpoint(store.Checkpoint{
		Changelog: spec.Changelog, Partition: w.partition, Offset: w.changelogs[spec.Name], Sequence: last.Sequence, StreamTime: last.StreamTime,
	})
}

// next returns the input that was written first among those that the task has before it.
func (w *worker) next() (first entry, ok bool) {
	for topic, position := range w.positions {
		e, some := w.log.segments(topic)[w.partition].next(position)
		if some && (!ok || e.order < first.order) {
			first, ok = e, true
		}
	}
	return first, ok
}

// step steps one record.
func (w *worker) step(e entry) error {
	w.positions[e.record.Topic] = e.record.Offset + 1
	return w.task.Step(e.record)
}

// send writes the outputs of the last steps into the open transaction.
func (w *worker) send() {
	layer := w.task.Upper()
	for ; layer.OutputsSent < len(layer.Outputs); layer.OutputsSent++ {
		w.write(layer.Outputs[layer.OutputsSent])
	}
}

// write appends a copy of an output: the task's memory serves again after the commit.
func (w *worker) write(output graph.Output) int64 {
	target := output.Partition
	if target == graph.PartitionByKey {
		deciding := output.Key
		if output.PartitionKey != nil {
			deciding = output.PartitionKey
		}
		target = w.log.partitionFor(output.Topic, deciding, w.partition)
	}
	return w.log.append(task.Record{
		Topic: output.Topic, Partition: target, Key: bytes.Clone(output.Key), Value: bytes.Clone(output.Value),
		Headers: cloneHeaders(output.Headers), Timestamp: output.Timestamp,
	}, entryPending)
}

func cloneHeaders(headers []graph.Header) []graph.Header {
	own := make([]graph.Header, 0, len(headers))
	for _, header := range headers {
		own = append(own, graph.Header{Key: header.Key, Value: bytes.Clone(header.Value)})
	}
	return own
}

// persist writes the last committed layer's rows to the disk.
func (w *worker) persist() error {
	if w.lower == nil {
		return nil
	}
	batch := store.NewBatch()
	w.lower.Write(batch)
	for _, spec := range w.sub.Stores {
		w.setCheckpoint(batch, spec, meta.Offset{Sequence: w.lower.Sequence, StreamTime: w.lower.StreamTime})
	}
	w.lower = nil
	if err := w.disk.Apply(batch); err != nil {
		return err
	}
	w.task.Committed()
	return nil
}

// seal ends the task's part of the transaction: its changelog records are written. It reports false if there is none.
func (w *worker) seal() bool {
	w.sealed = w.task.Seal()
	if w.sealed == nil {
		return false
	}
	for ; w.sealed.ChangelogSent < len(w.sealed.Changelog); w.sealed.ChangelogSent++ {
		output := w.sealed.Changelog[w.sealed.ChangelogSent]
		w.changelogs[output.Store] = w.write(output) + 1
	}
	return true
}

// committed commits where the sealed layer has come to, with its sequence and stream time on each partition.
func (w *worker) committed() {
	w.lower, w.sealed = w.sealed, nil
	metadata := meta.Offset{Sequence: w.lower.Sequence, StreamTime: w.lower.StreamTime}.String()
	for _, source := range w.sub.Sources {
		at := place{group: w.sub.Group, topic: source.Topic.Name, partition: w.partition}
		next := w.log.offsets[at].offset
		if moved, ok := w.lower.Offsets[source.Topic.Name]; ok {
			next = moved
		}
		w.log.offsets[at] = committed{offset: next, metadata: metadata}
	}
}

// reset undoes what is not committed.
func (w *worker) reset() error {
	if err := w.persist(); err != nil {
		return err
	}
	last, err := w.rewind()
	if err != nil {
		return err
	}
	w.sealed = nil
	w.task.Reset(last.Sequence, last.StreamTime)
	return nil
}
