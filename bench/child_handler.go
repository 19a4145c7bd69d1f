package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/kafka"
)

// childHandler serves one HTTP handler: a component of the calculator, or what it is compared with.
func childHandler(ctx context.Context, spec childSpec) error {
	mux := http.NewServeMux()
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	switch spec.Mode {
	case "view", "commander":
		component, err := newComponent(spec)
		if err != nil {
			return err
		}
		component.Mount(mux)
		go func() { ended <- component.Run(ctx) }()
		for component.Ready() != nil && ctx.Err() == nil {
			select {
			case err := <-ended:
				return errors.Join(errors.New("the component ended"), err)
			case <-time.After(5 * time.Millisecond):
			}
		}
	case "bare-get":
		mux.HandleFunc("GET /values/{id}", bareGet)
		ended <- nil
	case "bare-post":
		client, err := log.NewProducer(log.Config{Brokers: []string{spec.Broker}}, kgo.ProducerLinger(0))
		if err != nil {
			return err
		}
		defer client.Close()
		mux.HandleFunc("POST /values", barePost(client))
		ended <- nil
	default:
		return fmt.Errorf("unknown mode %q", spec.Mode)
	}
	listener, err := net.Listen("tcp", spec.Addr)
	if err != nil {
		return err
	}
	fmt.Println("running")
	go func() {
		<-ctx.Done()
		_ = server.Close() // its clients have gone
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

func newComponent(spec childSpec) (service.Component, error) {
	config := calculator.Config{Config: service.Config{
		Kafka: kafka.Config{Brokers: []string{spec.Broker}}, Dir: spec.Dir,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}}
	if spec.Mode == "view" {
		return calculator.View(config)
	}
	return calculator.Commander(config)
}

// bareGet answers what the view answers, without looking anything up.
func bareGet(w http.ResponseWriter, r *http.Request) {
	answer := append(make([]byte, 0, 80), `{"value_id":"`...)
	answer = append(append(answer, r.PathValue("id")...), `","value":3.0}`...)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // whoever does not read it has gone
}

// barePost writes a command as the commander's producer does, and answers when the log has acknowledged it.
func barePost(client *kgo.Client) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		id, key := uuid.NewString(), uuid.NewString()
		value := append(make([]byte, 0, 256), `{"id":"`...)
		value = append(append(value, id...), `","action":"CreateValue","data":`...)
		value = append(append(append(value, body...), `,"value-id":"`...), key...)
		value = append(strconv.AppendInt(append(value, `"},"timestamp":`...), time.Now().UnixMilli(), 10), '}')
		acknowledged := make(chan error, 1)
		client.Produce(r.Context(), &kgo.Record{Topic: commandsTopic, Key: []byte(key), Value: value}, func(_ *kgo.Record, err error) { acknowledged <- err })
		if err := <-acknowledged; err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(append(append([]byte(`{"id":"`), id...), `"}`...))
	}
}
