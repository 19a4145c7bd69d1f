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
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
)

// childVariable makes this program one of the measured processes: a childSpec as JSON.
const childVariable = "TIDEMILL_BENCH_CHILD"

// childSpec says which.
type childSpec struct {
	Mode      string // processor, or one of the HTTP handlers
	Broker    string
	Dir       string
	Guarantee string
	Instance  string
	Addr      string // where an HTTP handler listens
	Profile   string // where the CPU profile goes; empty for none
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

// childProcessor is the calculator's processor and nothing else.
func childProcessor(ctx context.Context, spec childSpec) error {
	topology, _, err := calculator.Topology()
	if err != nil {
		return err
	}
	instance := spec.Instance
	if instance == "" {
		instance = "bench"
	}
	p, err := processors.New(topology, processors.Config{
		Kafka: kafka.Config{Brokers: []string{spec.Broker}}, StateDir: spec.Dir, InstanceID: instance, CreateTopics: true,
		Guarantee: processors.Guarantee(spec.Guarantee), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	go tell(ctx, p)
	return p.Run(ctx)
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
