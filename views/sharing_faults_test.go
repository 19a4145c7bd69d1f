package views_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/views"
)

// A client that prefers it is sent to the owner, and never to one that cannot be reached. A request that says it was
// forwarded is not forwarded again.
func TestSharingRedirects(t *testing.T) {
	s := newShared(t, kafkatest.Embedded(t), 4, 1)
	s.fill(t, 1)
	here, other := s.start(t, "here"), s.spawn(t, "other")
	owner, far := here, other
	state := s.settled(t, here, other)
	if state.Partitions[partition.ForKey([]byte("k0"), 4)].Owner != "here" {
		owner, far = other, here
	}
	response, _ := far.get(t, "/values/k0?max_staleness=1m", "Prefer", "redirect", "Tidemill-Max-Staleness", "")
	if response.StatusCode != http.StatusBadRequest {
		t.Fatalf("two bounds are answered %d", response.StatusCode)
	}
	response, body := far.get(t, "/values/k0", "Prefer", "wait=5, redirect")
	if response.StatusCode != http.StatusTemporaryRedirect || response.Header.Get("Location") != owner.url+"/values/k0" || response.Header.Get("Preference-Applied") != "redirect" {
		t.Fatalf("status %d, %v, %s", response.StatusCode, response.Header, body)
	}
	if response, body = owner.get(t, "/values/k0", "Prefer", "redirect"); response.StatusCode != http.StatusOK {
		t.Fatalf("the owner answers %d: %s", response.StatusCode, body)
	}
	other.kill()
	// One that was reached within the last second is not asked again before a client is sent there.
	eventually(t, "the instance that is left answers itself", func() bool {
		response, _ = here.get(t, "/values/k0", "Prefer", "redirect, wait=10")
		return response.StatusCode == http.StatusOK
	})
	for range 10 {
		response, body = here.get(t, "/values/k0", "Prefer", "redirect, wait=10")
		if response.StatusCode != http.StatusOK || response.Header.Get("Tidemill-Instance") != "here" {
			t.Fatalf("with the other one gone: status %d, %v, %s", response.StatusCode, response.Header, body)
		}
	}
}

// Whoever forwarded a request does the asking on: it is answered where it arrives, or sent back with the reason.
func TestSharingForwardsOnce(t *testing.T) {
	s := newShared(t, kafkatest.Embedded(t), 4, 0)
	s.fill(t, 1)
	first, second := s.start(t, "first"), s.start(t, "second")
	s.settled(t, first, second)
	number := partition.ForKey([]byte("k0"), 4)
	eventually(t, "one of them only holds the partition", func() bool {
		return holds(first, number) != holds(second, number)
	})
	for _, i := range []*instance{first, second} {
		response, body := i.get(t, "/values/k0", "Tidemill-Forwarded", "somebody")
		if want := map[bool]int{true: http.StatusOK, false: http.StatusMisdirectedRequest}[holds(i, number)]; response.StatusCode != want ||
			(want != http.StatusOK && response.Header.Get("Tidemill-Misdirected") == "") {
			t.Fatalf("%s answers %d, want %d: %s", i.Name, response.StatusCode, want, body)
		}
	}
}

func holds(i *instance, number int32) bool {
	for _, status := range i.view.Status() {
		if status.Partition == number {
			return true
		}
	}
	return false
}

// An instance whose URL leads nowhere, or to another one, does not take part, and says why.
func TestSharingWrongURL(t *testing.T) {
	s := newShared(t, kafkatest.Embedded(t), 2, 0)
	right := s.start(t, "right")
	s.settled(t, right)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	for name, url := range map[string]string{"nobody": "http://" + listener.Addr().String(), "another": right.url} {
		config := s.instanceConfig(t, "wrong", []func(*instanceConfig){func(c *instanceConfig) { c.URL, c.Reachable = url, 200*time.Millisecond }})
		_, run, err := newInstance(config)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err = run(ctx)
		cancel()
		if !errors.Is(err, views.ErrUnreachable) || !strings.Contains(err.Error(), url) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
	if state := s.settled(t, right); len(state.Instances) != 1 {
		t.Errorf("the instances are %v", state.Instances)
	}
}

// Where an owner hangs its standby answers, within the time that a request waits: asked itself, and by way of another instance.
func TestSharingOwnerHangs(t *testing.T) {
	s := newShared(t, kafkatest.Embedded(t), 6, 1)
	s.session = 30 * time.Second // the group does not give the partitions to others in the time of the test
	s.fill(t, 60)
	hangs := s.spawn(t, "hangs")
	s.start(t, "first")
	s.start(t, "second")
	state := s.settled(t, s.instances...)
	key, standby := "", ""
	for n := 0; standby == ""; n++ {
		key = fmt.Sprint("k", n)
		if holders := state.Partitions[partition.ForKey([]byte(key), 6)]; holders.Owner == "hangs" {
			standby = holders.Standbys[0]
		}
	}
	for _, i := range s.instances { // connections are open
		if response, body := i.get(t, "/own/"+key, "Prefer", "wait=20"); response.StatusCode != http.StatusOK || response.Header.Get("Tidemill-Instance") != "hangs" {
			t.Fatalf("%s answers %d: %s", i.Name, response.StatusCode, body)
		}
	}
	time.Sleep(time.Second) // nobody has been heard of within the last moment
	hangs.pause(t)
	defer hangs.proceed(t)
	var group sync.WaitGroup
	for _, i := range s.instances[1:] {
		for path, wait := range map[string]string{"/own/" + key: "", "/values/" + key: "", "/own/" + key + "?1": "wait=1", "/values/" + key + "?max_staleness=1m": "", "/values?count": ""} {
			group.Go(func() {
				headers := []string{"Prefer", wait}
				began := time.Now()
				response, body := i.get(t, path, headers[:2*min(1, len(wait))]...)
				took := time.Since(began)
				t.Logf("%s answers %s %s after %v", i.Name, path, wait, took.Round(time.Millisecond))
				by := response.Header.Get("Tidemill-Instance") // any instance answers a count, and a bound with a copy of its own that it still has
				if response.StatusCode != http.StatusOK || took > views.DefaultWait || response.Header.Get("Tidemill-Staleness") == "" || (by != standby && !strings.Contains(path, "?count") && !strings.Contains(path, "?max")) {
					t.Errorf("%s answers %s %s with %d after %v by %s: %s", i.Name, path, wait, response.StatusCode, took, by, body)
				}
			})
		}
	}
	group.Wait()
	// Who waits for less than it takes to give up the owner is answered by the standby from what it has.
	at := s.instances[1]
	if at.Name != standby {
		at = s.instances[2]
	}
	time.Sleep(3500 * time.Millisecond) // the owner is not suspected any more
	response, body := at.get(t, "/own/"+key, "Prefer", "wait=0.1")
	if response.StatusCode != http.StatusOK || response.Header.Get("Tidemill-Staleness") == "" {
		t.Errorf("the standby answers %d: %s", response.StatusCode, body)
	}
}

// While the brokers are away answers go on from what is there, and the assignment holds; what asks for more than that fails
// clearly.
func TestSharingBrokersAway(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, broker *kafkatest.Process) {
		s := newShared(t, broker.Broker, 4, 1)
		s.fill(t, 4)
		s.start(t, "first")
		s.start(t, "second")
		before := s.settled(t, s.instances...)
		for n, i := range s.instances { // each partition's owner has answered: it has caught up with becoming that
			for key := range 4 {
				if response, body := i.get(t, fmt.Sprint("/values/k", key), "Prefer", "wait=20"); response.StatusCode != http.StatusOK {
					t.Fatalf("instance %d answers %d: %s", n, response.StatusCode, body)
				}
			}
			if response, body := i.get(t, "/values?count", "Prefer", "wait=20"); response.StatusCode != http.StatusOK {
				t.Fatalf("instance %d answers %d: %s", n, response.StatusCode, body)
			}
		}
		token := views.Token{Topic: s.commands, Partition: partition.ForKey([]byte("k0"), 4), Offset: 5}.String()
		broker.Kill9(t)
		for _, i := range s.instances {
			for _, path := range []string{"/values/k0", "/values/k1", "/values?count", "/values/k2?max_staleness=10m"} {
				if response, body := i.get(t, path, "Prefer", "wait=10"); response.StatusCode != http.StatusOK || response.Header.Get("Tidemill-Staleness") == "" {
					t.Errorf("%s answers %s with %d: %s", i.Name, path, response.StatusCode, body)
				}
			}
			for _, headers := range [][]string{{"Tidemill-Max-Staleness", "0"}, {"Tidemill-Token", token}} {
				response, body := i.get(t, "/values/k0", append(headers, "Prefer", "wait=0.3")...)
				var problem struct{ Type, Detail string }
				if err := json.Unmarshal(body, &problem); err != nil || response.StatusCode < http.StatusInternalServerError || problem.Detail == "" {
					t.Errorf("%s answers %v with %d: %s", i.Name, headers, response.StatusCode, body)
				}
			}
			state, _ := i.state(t)
			if len(state.Instances) != 2 || state.Generation != before.Generation {
				t.Errorf("with the brokers away %s knows %+v", i.Name, state)
			}
		}
		broker.Start(t)
		value := 7.0
		s.put(t, "k0", &value)
		for _, i := range s.instances {
			response, body := i.get(t, "/values/k0", "Tidemill-Max-Staleness", "0", "Prefer", "wait=30")
			if response.StatusCode != http.StatusOK || string(body) != `{"value_id":"k0","value":7.0}` {
				t.Errorf("with the brokers back %s answers %d: %s", i.Name, response.StatusCode, body)
			}
		}
	})
}
