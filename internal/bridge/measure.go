package bridge

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/log"
)

// Measures say how far a processor's tasks are behind and what they take up.
type Measures struct {
	// Lag is, by source topic and partition, how many offsets lie between what is committed and what can be read. Transaction
	// markers count.
	Lag log.Offsets
	// StoreBytes is roughly what each store takes up on the disk, by store and partition.
	StoreBytes map[string]map[int32]int64
}

// measureInterval is the time between two measures.
const measureInterval = 2 * time.Second

// measure measures the tasks of a session until it is done. What cannot be asked for now is asked for again.
func (p *Processor) measure(session *commit.Session, units []*commit.Unit) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan struct{})
	defer func() { <-ended }()
	go func() {
		defer close(ended)
		<-session.Done()
		cancel()
	}()
	ticker := time.NewTicker(measureInterval)
	defer ticker.Stop()
	for {
		measures := Measures{StoreBytes: p.storeBytes(units)}
		var err error
		if measures.Lag, err = p.lag(ctx, units); err != nil && ctx.Err() == nil {
			p.logger.Debug("asking how far the tasks are behind", "error", err)
		}
		if ctx.Err() == nil {
			p.config.Observer.Measured(measures)
		}
		select {
		case <-ticker.C:
		case <-session.Done():
			return
		}
	}
}

func (p *Processor) lag(ctx context.Context, units []*commit.Unit) (log.Offsets, error) {
	topics := p.config.SubTopology.SourceTopics()
	// The ends first: what is committed meanwhile can only make the difference too small, not negative for long.
	ends, err := p.admin.StableOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	committed, err := p.admin.CommittedOffsets(ctx, p.config.SubTopology.Group, false, topics...)
	if err != nil {
		return nil, err
	}
	lag := log.Offsets{}
	for _, topic := range topics {
		lag[topic] = map[int32]int64{}
		for _, unit := range units {
			number := unit.Task.Partition()
			if at, known := committed[topic][number]; known {
				lag[topic][number] = max(0, ends[topic][number]-at.Offset)
			}
		}
	}
	return lag, nil
}

// storeBytes leaves out what cannot be measured now.
func (p *Processor) storeBytes(units []*commit.Unit) map[string]map[int32]int64 {
	sizes := map[string]map[int32]int64{}
	for _, spec := range p.config.SubTopology.Stores {
		for _, name := range append([]string{spec.Name}, spec.DerivedStores...) {
			sizes[name] = map[int32]int64{}
			for _, unit := range units {
				if bytes, err := unit.Engine.Size(name); err == nil {
					sizes[name][unit.Task.Partition()] = bytes
				}
			}
		}
	}
	return sizes
}
