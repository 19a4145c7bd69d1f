package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
)

// childVariable makes this program one of the measured processes: a childSpec as JSON.
const childVariable = "TIDEMILL_BENCH_CHILD"

// childSpec says which.
type childSpec struct {
	Mode       string // processor, or one of the HTTP handlers
	Broker     string
	Dir        string
	Guarantee  string
	Instance   string
	Sizes      bool // the topology of value sizes instead of the calculator's
	Partitions int32
	Addr       string // where an HTTP handler listens
	Memory     int64  // what it may map for its data, bytes; 0 for any amount
	Profile    string // where the CPU profile goes; empty for none
}

func childCommand(spec childSpec) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"="+string(line))
	return cmd, nil
}

func runChild(text string) error {
	var spec childSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return fmt.Errorf("%s: %w", childVariable, err)
	}
	if spec.Memory > 0 {
		if err := limitMemory(spec.Memory); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if spec.Profile != "" {
		file, err := os.Create(spec.Profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	switch spec.Mode {
	case "processor":
		return childProcessor(ctx, spec)
	}
	return childHandler(ctx, spec)
}

// limitMemory has the kernel refuse this process more than so many bytes of memory of its own.
func limitMemory(bytes int64) error {
	limit := syscall.Rlimit{Cur: uint64(bytes), Max: uint64(bytes)}
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &limit); err != nil {
		return fmt.Errorf("limiting the memory to %d bytes: %w", bytes, err)
	}
	return nil
}

// childProcessor is the calculator's processor and nothing else.
func childProcessor(ctx context.Context, spec childSpec) error {
	described, _, err := calculator.Topology()
	if spec.Sizes {
		described, err = sizesTopology()
	}
	if err != nil {
		return err
	}
	p, err := processors.New(described, processors.Config{
		Kafka: kafka.Config{Brokers: []string{spec.Broker}}, StateDir: spec.Dir, InstanceID: spec.Instance, CreateTopics: true, Partitions: spec.Partitions,
		Guarantee: processors.Guarantee(spec.Guarantee), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	go tell(ctx, p)
	return p.Run(ctx)
}

// sizesTopology keeps the last value of each key and passes it on. Its names are those of the calculator, and so is what is
// read and written for each record: an input, a changelog record, an output.
func sizesTopology() (*topology.Topology, error) {
	bytes := codecs.Bytes()
	b := topology.New("calculator")
	b.From(topology.NewTopic("calculator-commands", codecs.String(), bytes)).GroupByKey().
		Reduce("values", func(_, value []byte) []byte { return value }).
		ToStream().To(topology.NewTopic("calculator-events", codecs.String(), bytes))
	return b.Build()
}

// tell prints when a restore begins and when the processor runs.
func tell(ctx context.Context, p *processors.Processor) {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for restoring := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-p.Ready():
			fmt.Println("running")
			return
		case <-ticker.C:
			for _, group := range p.Status().Groups {
				if !restoring && len(group.Restores) > 0 {
					restoring = true
					fmt.Println("restoring")
				}
			}
		}
	}
}
