package commands_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/commands/outcome"
)

func TestRemotePositions(t *testing.T) {
	position := outcome.Position{Topic: "app-commands", Partition: 2, Offset: 7}
	var status atomic.Int32
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead || r.Header.Get(commands.TokenHeader) != position.String() || r.Header.Get("Prefer") == "" || r.URL.RawQuery != "limit=1" {
			t.Errorf("asked by %s %s %v", r.Method, r.URL, r.Header)
		}
		// A view that is not there yet at the first question is at the second.
		if asked.Add(1) == 1 && status.Load() == http.StatusOK {
			w.WriteHeader(http.StatusGatewayTimeout)
			return
		}
		w.WriteHeader(int(status.Load()))
	}))
	defer server.Close()
	view, err := commands.NewRemotePositions(server.URL+"/values?limit=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[int]error{200: nil, 404: nil, 304: nil, 500: commands.ErrRemote, 503: commands.ErrRemote, 400: commands.ErrRemote} {
		asked.Store(0)
		status.Store(int32(code))
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		if err := view.Await(ctx, position); !errors.Is(err, want) {
			t.Errorf("%d: %v", code, err)
		}
		cancel()
	}
	status.Store(http.StatusGatewayTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := view.Await(ctx, position); err == nil {
		t.Error("a view that never gets there got there")
	}
	server.Close()
	if err := view.Await(context.Background(), position); !errors.Is(err, commands.ErrRemote) {
		t.Errorf("a view that is not there: %v", err)
	}
	for _, bad := range []string{"", "view:3031", "/values", "ftp://view/values"} {
		if _, err := commands.NewRemotePositions(bad, nil); !errors.Is(err, commands.ErrConfig) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
