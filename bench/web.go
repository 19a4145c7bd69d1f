package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// clients are the connections that ask at the same time, each kept open.
const clients = 64

// runGet asks a view for values, or a bare handler that answers the same.
func runGet(ctx context.Context, s *session, c contender) (map[string]float64, error) {
	keys := s.keys
	if c.name == "view" {
		if err := s.fillView(ctx, keys); err != nil {
			return nil, err
		}
	}
	return s.ask(ctx, c, "200", func(dst []byte, random *rand.Rand) []byte {
		dst = fmt.Appendf(dst, "GET /values/%08d-0000-4000-8000-000000000000 HTTP/1.1\r\nHost: bench\r\n\r\n", random.IntN(keys))
		return dst
	})
}

// runPost sends commands that are acknowledged by the log.
func runPost(ctx context.Context, s *session, c contender) (map[string]float64, error) {
	if err := s.emptyCommands(ctx); err != nil {
		return nil, err
	}
	if err := s.ensureOutputs(ctx); err != nil {
		return nil, err
	}
	request := []byte("POST /values HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nPrefer: respond-async\r\nContent-Length: 11\r\n\r\n{\"value\":3}")
	return s.ask(ctx, c, "202", func(dst []byte, _ *rand.Rand) []byte { return append(dst, request...) })
}

// fillView lets the processor make a changelog of so many values.
func (s *session) fillView(ctx context.Context, keys int) error {
	if err := s.load(ctx, keys, keys); err != nil {
		return err
	}
	run, _, err := s.fill(ctx, s.processor(contenders["tidemill"], "get"), keys)
	if err != nil {
		return err
	}
	_, err = run.stop()
	return err
}

// ensureOutputs makes the topics that a commander follows, by starting the processor once.
func (s *session) ensureOutputs(ctx context.Context) error {
	run, err := s.start(ctx, s.processor(contenders["tidemill"], "post"))
	if err != nil {
		return err
	}
	if _, err := run.await(ctx, "running"); err != nil {
		run.kill()
		return err
	}
	_, err = run.stop()
	return err
}

// ask starts a handler in a process of its own and asks it with all clients: half a slice to warm up, then a slice.
func (s *session) ask(ctx context.Context, c contender, status string, request func([]byte, *rand.Rand) []byte) (map[string]float64, error) {
	s.runs++
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a port that was free a moment ago
	if err != nil {
		return nil, err
	}
	addr := listener.Addr().String()
	listener.Close()
	cmd, err := childCommand(childSpec{
		Mode: c.name, Broker: s.broker.Addr(), Dir: fmt.Sprintf("%s/state-web-%d", s.dir, s.runs), Addr: addr, Profile: s.profile(c.name),
	})
	if err != nil {
		return nil, err
	}
	run, err := startProcess(cmd, s.logFile(), 0)
	if err != nil {
		return nil, err
	}
	defer run.kill()
	if _, err := run.await(ctx, "running"); err != nil {
		return nil, err
	}
	if _, err := askAll(addr, status, s.slice/2, request); err != nil {
		return nil, err
	}
	before := cpuOf(run.cmd.Process.Pid)
	took, err := askAll(addr, status, s.slice, request)
	if err != nil {
		return nil, err
	}
	cpu := cpuOf(run.cmd.Process.Pid) - before
	used, err := run.stop()
	slices.Sort(took)
	at := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1e3 }
	return map[string]float64{
		"per_s": float64(len(took)) / s.slice.Seconds(), "cpu_us": cpu * 1e6 / float64(len(took)),
		"p50_ms": at(0.5), "p99_ms": at(0.99), "memory_mb": float64(used.memory) / (1 << 20),
	}, err
}

// askAll asks from all connections for a while and returns how long each answer took.
func askAll(addr, status string, during time.Duration, request func([]byte, *rand.Rand) []byte) ([]time.Duration, error) {
	deadline := time.Now().Add(during)
	all, errs := make([][]time.Duration, clients), make([]error, clients)
	var wait sync.WaitGroup
	for i := range clients {
		wait.Go(func() { all[i], errs[i] = askOne(addr, status, deadline, uint64(i), request) })
	}
	wait.Wait()
	took := slices.Concat(all...)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(took) == 0 {
		return nil, errors.New("no answer")
	}
	return took, nil
}

// askOne is one connection. It is written by hand, because a client library would use more of the cores than the handler.
func askOne(addr, status string, deadline time.Time, seed uint64, request func([]byte, *rand.Rand) []byte) ([]time.Duration, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline.Add(10 * time.Second)); err != nil {
		return nil, err
	}
	random, reader := rand.New(rand.NewPCG(seed, 1)), bufio.NewReaderSize(conn, 4096)
	took := make([]time.Duration, 0, 1<<14)
	var buffer []byte
	for {
		began := time.Now()
		if began.After(deadline) {
			return took, nil
		}
		buffer = request(buffer[:0], random)
		if _, err := conn.Write(buffer); err != nil {
			return nil, err
		}
		if err := readAnswer(reader, status); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
}

var contentLength = []byte("Content-Length: ")

// readAnswer reads one answer with a length.
func readAnswer(reader *bufio.Reader, status string) error {
	line, err := reader.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 12 || string(line[9:12]) != status {
		rest, _ := reader.Peek(reader.Buffered())
		return fmt.Errorf("answered %q, not %s: %s", bytes.TrimSpace(line), status, rest)
	}
	length := 0
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if text, found := bytes.CutPrefix(line, contentLength); found {
			if length, err = strconv.Atoi(string(text)); err != nil {
				return err
			}
		}
	}
	_, err = reader.Discard(length)
	return err
}
