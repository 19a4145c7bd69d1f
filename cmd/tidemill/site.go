package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/commands"
)

// site is one address of a process, and what is served there.
type site struct {
	name, addr, flag string // what it is for, where it listens, and the flag that changes that
	components       []service.Component
	pages            func(mux *http.ServeMux) error // adds pages; nil for none
	health           *health                        // of its components alone
	server           *httpServer                    // nil before listen, and where nothing is served
}

// take listens on an address that leaves the port to the system, and puts the port there: for those who must know it before
// the site is served. It does nothing about other addresses.
func (p *process) take(addr *string, flag string) error {
	host, port, err := net.SplitHostPort(*addr)
	if err != nil || port != "0" {
		return nil // settings have been checked
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("listening on %s: %w (choose another address with --%s)", *addr, err, flag)
	}
	p.taken[flag] = listener
	if _, port, err = net.SplitHostPort(listener.Addr().String()); err == nil {
		*addr = net.JoinHostPort(host, port)
	}
	return err
}

// withPort returns a URL with an address's port where its own is 0.
func withPort(text, addr string) string {
	parsed, err := url.Parse(text)
	_, port, err2 := net.SplitHostPort(addr)
	if text == "" || err != nil || err2 != nil || parsed.Port() != "0" {
		return text
	}
	parsed.Host = net.JoinHostPort(parsed.Hostname(), port)
	return parsed.String()
}

// site adds an address to the process. name says what it is for.
func (p *process) site(name, addr, flag string) *site {
	s := &site{name: name, addr: addr, flag: flag, health: &health{}}
	p.sites = append(p.sites, s)
	return s
}

// add takes in components of a site. The components of a process are stopped in the order in which they came.
func (p *process) add(s *site, components ...service.Component) {
	for _, component := range components {
		p.components = append(p.components, running{Component: component, done: make(chan struct{})})
		name := component.Name()
		if len(p.sites) > 1 {
			name = s.name + ": " + name
		}
		p.health.parts = append(p.health.parts, readyFunc{name, component.Ready})
		s.health.parts = append(s.health.parts, readyFunc{component.Name(), component.Ready})
	}
	s.components = append(s.components, components...)
}

// serves reports whether there is anything but processors.
func (s *site) serves() bool {
	for _, component := range s.components {
		if !isProcessor(component) {
			return true
		}
	}
	return s.pages != nil
}

// listen takes the site's address, if anything is served there.
func (s *site) listen(p *process, metrics *httpMetrics) (err error) {
	if !s.serves() {
		return nil
	}
	mux := http.NewServeMux()
	s.health.mount(mux)
	for _, component := range s.components {
		component.Mount(mux)
	}
	if s.pages != nil {
		err = s.pages(mux)
	}
	handler := commands.Problems(mux)
	if len(s.components) > 0 {
		handler = p.watch.guard(handler)
	}
	if err == nil {
		s.server, err = newHTTPServer(p.taken[s.flag], s.name, s.addr, s.flag, hardened(sameOrigin(handler), metrics, p.logger), p.logger)
		delete(p.taken, s.flag) // it is the server's, or closed
	}
	if err == nil {
		s.server.waiting = s.waiting
	}
	return err
}

// waiting reports whether requests wait for what other instances do.
func (s *site) waiting() bool {
	return slices.ContainsFunc(s.components, func(component service.Component) bool {
		waiter, ok := component.(service.Waiter)
		return ok && waiter.Waiting() > 0
	})
}

// servers returns all servers that listen.
func (p *process) servers() []*httpServer {
	var all []*httpServer
	for _, s := range p.sites {
		if s.server != nil {
			all = append(all, s.server)
		}
	}
	if p.admin != nil {
		all = append(all, p.admin)
	}
	return all
}

// isProcessor reports whether a component serves nothing and is drained first.
func isProcessor(component service.Component) bool {
	return strings.HasSuffix(component.Name(), "processor")
}

// metricsOf returns where the metrics of one system go. Two systems in one process have the same ones.
func (p *process) metricsOf(system string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"system": system}, p.registry)
}

// closeServers frees the addresses of a process that does not start.
func (p *process) closeServers() error {
	var errs []error
	for _, server := range p.servers() {
		errs = append(errs, server.listener.Close())
	}
	return errors.Join(errs...)
}

// closeTaken frees addresses that were taken and are not served.
func (p *process) closeTaken() error {
	var errs []error
	for _, listener := range p.taken {
		errs = append(errs, listener.Close())
	}
	clear(p.taken)
	return errors.Join(errs...)
}
