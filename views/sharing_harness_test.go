package views_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/pausetest"
	"github.com/tidemill/tidemill/internal/runtest"
	"github.com/tidemill/tidemill/views"
)

// childVariable holds, in the environment of a child of the tests, the instance that it is to be.
const childVariable = "TIDEMILL_TEST_SHARING_CHILD"

// instanceConfig is what an instance of a shared view needs; a child process gets it as JSON.
type instanceConfig struct {
	Name      string
	Address   string // to listen on
	URL       string // "" for the address
	Group     string // "" for a full copy, which is not shared out
	Changelog string
	Processor views.Processor
	Brokers   []string
	Dir       string
	Standbys  int
	Session   time.Duration
	Stale     time.Duration
	Keep      time.Duration
	Reachable time.Duration
	Tied      []views.Membership
}

// instance is one instance of a shared view with its HTTP server, in this process or a child of it.
type instance struct {
	instanceConfig
	sharing *views.Sharing
	view    *views.View[string, amount]
	mux     *http.ServeMux
	url     string
	pid     int          // of a child
	stop    func() error // ends it gracefully
	kill    func()       // ends it at once, in a child
	signal  func(os.Signal) error
	cutOff  func() // ends the contexts of its requests, as a server does that stops
}

// pause stops a child as it is; proceed has it go on.
func (i *instance) pause(t testing.TB) {
	t.Helper()
	pausetest.Pause(t, i.pid)
}

func (i *instance) proceed(t testing.TB) {
	t.Helper()
	if err := i.signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// newInstance makes an instance and serves it. run then runs its view.
func newInstance(config instanceConfig) (i *instance, run func(context.Context) error, err error) {
	listener, err := net.Listen("tcp", config.Address)
	if err != nil {
		return nil, nil, err
	}
	i = &instance{instanceConfig: config, url: "http://" + listener.Addr().String(), mux: http.NewServeMux()}
	advertised := i.URL
	if advertised == "" {
		advertised = i.url
	}
	log := views.LogConfig{Brokers: config.Brokers}
	logger := slog.New(slog.DiscardHandler)
	if os.Getenv("TIDEMILL_TEST_LOG") != "" {
		logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", config.Name)
	}
	if config.Group != "" {
		i.sharing, err = views.NewSharing(views.SharingConfig{
			Group: config.Group, URL: advertised, Instance: config.Name, Standbys: config.Standbys, SessionTimeout: config.Session,
			MaxStaleness: config.Stale, KeepCopies: config.Keep, ReachableIn: config.Reachable, Log: log, Logger: logger,
			Memberships: func() []views.Membership { return config.Tied },
		})
	}
	if err == nil {
		i.view, err = views.New(views.Config[string, amount]{
			Name: "values", Changelog: config.Changelog, KeyCodec: codecs.String(), ValueCodec: codecs.JSON[amount](),
			Dir: config.Dir, Log: log, Processor: config.Processor, Sharing: i.sharing, Logger: logger,
		})
	}
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	handler, err := i.view.Handler(calculatorHTTP)
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, found, err := i.view.Get(r.Context(), r.PathValue("key"))
		if err != nil || !found {
			http.Error(w, fmt.Sprint(found, err), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, value)
	})
	i.mux.Handle("/own/{key}", i.view.Routed(func(r *http.Request) (int32, error) { return i.view.PartitionOf(r.PathValue("key")) }, own))
	i.mux.Handle("/values", handler)
	i.mux.Handle("/values/", handler)
	if i.sharing != nil {
		i.mux.Handle(i.sharing.Path(), i.sharing)
	}
	base, cutOff := context.WithCancel(context.Background())
	i.cutOff = cutOff
	server := &http.Server{Handler: i.mux, ReadHeaderTimeout: patience, BaseContext: func(net.Listener) context.Context { return base }}
	run = func(ctx context.Context) error {
		defer cutOff()
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		err := i.view.Run(ctx)
		stopping, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if shut := server.Shutdown(stopping); shut != nil {
			shut = server.Close()
			err = errors.Join(err, shut)
		}
		<-served
		return err
	}
	return i, run, nil
}

// child runs an instance in this process until it is killed or its input ends.
func child(text string) error {
	var config instanceConfig
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return err
	}
	i, run, err := newInstance(config)
	if err != nil {
		return err
	}
	fmt.Println(i.url)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		// Its end is what matters, however it comes.
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return run(ctx)
}

// shared is a changelog whose view is shared out.
type shared struct {
	*fixture
	group     string
	standbys  int
	session   time.Duration
	keep      time.Duration
	instances []*instance
}

// start runs an instance in this process.
func (s *shared) start(t testing.TB, name string, change ...func(*instanceConfig)) *instance {
	t.Helper()
	i, run, err := newInstance(s.instanceConfig(t, name, change))
	if err != nil {
		t.Fatal(err)
	}
	i.stop = runtest.Start(t, "instance "+name, patience, run).Stop
	s.instances = append(s.instances, i)
	return i
}

// spawn runs an instance in a child process.
func (s *shared) spawn(t testing.TB, name string, change ...func(*instanceConfig)) *instance {
	t.Helper()
	config := s.instanceConfig(t, name, change)
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(executable)
	command.Env = append(os.Environ(), childVariable+"="+string(encoded))
	var complaints bytes.Buffer
	command.Stderr = &complaints
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	i := &instance{instanceConfig: config, url: string(bytes.TrimSpace([]byte(line))), pid: command.Process.Pid}
	wait := sync.OnceValue(command.Wait)
	i.stop = sync.OnceValue(func() error {
		// An input that is closed already has ended it.
		_ = input.Close()
		if err := wait(); err != nil {
			return fmt.Errorf("%w: %s", err, complaints.Bytes())
		}
		return nil
	})
	i.signal = command.Process.Signal
	i.kill = func() {
		// It may have ended by itself; then there is nothing to kill.
		_ = command.Process.Kill()
		_ = wait()
	}
	t.Cleanup(i.kill)
	if err != nil {
		i.kill()
		t.Fatalf("starting a child: %v: %s", err, complaints.Bytes())
	}
	s.instances = append(s.instances, i)
	return i
}

func (s *shared) instanceConfig(t testing.TB, name string, change []func(*instanceConfig)) instanceConfig {
	config := instanceConfig{
		Name: name, Address: "127.0.0.1:0", Group: s.group, Changelog: s.changelog, Processor: s.config.Processor, Brokers: s.broker.Brokers(),
		Dir: filepath.Join(t.TempDir(), name), Standbys: s.standbys, Session: s.session, Keep: s.keep,
	}
	for _, apply := range change {
		apply(&config)
	}
	return config
}

// sharingState is what an instance tells of the sharing.
type sharingState struct {
	Instance   string
	Generation int
	Instances  []struct{ Name, URL string }
	Partitions []struct {
		Partition         int32
		Owner, Here       string
		Standbys, Warming []string
		Ready             bool
	}
}

var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 256},
	Timeout:       patience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// state asks an instance.
func (i *instance) state(t testing.TB) (state sharingState, known bool) {
	t.Helper()
	response, err := client.Get(i.url + "/.tidemill/sharing/" + i.Group)
	if err != nil {
		return state, false
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&state); err != nil {
		t.Fatal(err)
	}
	return state, state.Generation > 0
}

// settled waits until all of the instances know the same map, in which every partition has an owner and its standbys and nothing warms up.
func (s *shared) settled(t testing.TB, instances ...*instance) (state sharingState) {
	t.Helper()
	deadline := time.Now().Add(patience)
	why := ""
	for time.Now().Before(deadline) {
		why = ""
		generation := 0
		for _, i := range instances {
			known := false
			state, known = i.state(t)
			switch {
			case !known || len(state.Instances) != len(instances):
				why = fmt.Sprintf("%s knows %d instances", i.Name, len(state.Instances))
			case generation != 0 && state.Generation != generation:
				why = "they know different maps"
			}
			generation = state.Generation
			for _, p := range state.Partitions {
				if len(p.Warming) > 0 || len(p.Standbys) != min(s.standbys, len(instances)-1) || (p.Here != "none" && !p.Ready) {
					why = fmt.Sprintf("%s: %+v", i.Name, p)
				}
			}
			if why != "" {
				break
			}
		}
		if why == "" {
			return state
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the partitions are not shared out: %s", why)
	return state
}

// get asks an instance; the answer's body is read.
func (i *instance) get(t testing.TB, path string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	return get(t, i.url+path, headers...)
}

// get sends a request; headers come as name and value in turn.
func get(t testing.TB, url string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(headers); n += 2 {
		request.Header.Add(headers[n], headers[n+1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}
