package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/pages"
	"github.com/tidemill/tidemill/internal/settings"
)

func newUp() *cobra.Command {
	defaults := settings.Default()
	defaults.Kafka.Brokers = nil
	cmd := &cobra.Command{
		Use: "up", Short: "Run everything in one process, with a broker of its own", Args: noArguments,
		Long: `Runs the calculator and online ordering in one process, with their pages, and the embedded broker in a second one that ends with it. Data is
kept in ./tidemill-data, or where --data or TIDEMILL_DATA says; the next 'tidemill up' goes on with it. With --brokers it
uses those brokers instead of its own.

SIGINT (Ctrl-C) and SIGTERM drain, commit and end it within 5 seconds. It may be killed at any moment all the same: every
command that was acknowledged is applied exactly once.`,
		Example: `  tidemill up
  curl -d '{"value": 3}' -H 'Content-Type: application/json' -X POST http://localhost:3030/values
  tidemill up --data /var/lib/tidemill --calculator-addr 127.0.0.1:8080
  tidemill up --brokers kafka1:9092`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := loadUp(cmd, defaults)
			if err != nil {
				return err
			}
			return up(cmd.Context(), s, cmd.OutOrStdout())
		},
	}
	return withFlags(cmd, defaults, settings.GroupData, settings.GroupCalculator, settings.GroupCommand, settings.GroupQuery, settings.GroupPage, settings.GroupAdmin, settings.GroupBroker,
		settings.GroupKafka, settings.GroupTopics, settings.GroupProcessor, settings.GroupAuth, settings.GroupLog)
}

// upSettings are those of up: whether brokers are given decides whether it runs its own.
type upSettings struct {
	settings.Settings
	embedded bool
}

func loadUp(cmd *cobra.Command, defaults settings.Settings) (upSettings, error) {
	// Its own broker stands for brokers that are not given, and its address is not known yet.
	defaults.Kafka.Brokers = []string{defaults.Broker.Addr}
	s, err := load(cmd, defaults) // first, for it tells everything that is wrong
	if err != nil {
		return upSettings{}, err
	}
	given, err := settings.Given(cmd.Flags(), "brokers")
	return upSettings{Settings: s, embedded: !given}, err
}

func up(ctx context.Context, s upSettings, out io.Writer) (err error) {
	logger := s.Log.Logger()
	ctx, cancel := signals(ctx, logger)
	defer cancel()
	if s.Data, err = filepath.Abs(s.Data); err != nil {
		return fmt.Errorf("finding the data directory: %w", err)
	}
	unlock, err := lockData(s.Data)
	if err != nil {
		return err
	}
	defer unlock()
	var failed <-chan error
	if s.embedded {
		node, err := startEmbedded(ctx, brokerOptions(s.Settings), logger)
		if err != nil {
			return err
		}
		s.Kafka.Brokers, failed = []string{node.addr()}, node.failed
		// The broker goes last, and is looked after until then.
		watched, unwatch := context.WithCancel(context.WithoutCancel(ctx))
		go node.supervise(watched)
		defer func() {
			unwatch()
			if stopErr := node.stop(); stopErr != nil {
				logger.Error("stopping the broker", "error", stopErr)
			}
		}()
	}
	p := newProcess(s.Settings, logger)
	if err := p.addEverything(); err != nil {
		return errors.Join(err, p.discard())
	}
	err = p.run(ctx, failed, func() { p.banner(out, s.embedded) })
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// addEverything adds both systems with their pages.
func (p *process) addEverything() error {
	// The pages link to each other and forward: where is known before anything is made.
	o := &p.settings.Ordering
	if err := errors.Join(
		p.take(&p.settings.Calculator.Addr, "calculator-addr"), p.take(&o.CommandAddr, "ordering-command-addr"),
		p.take(&o.QueryAddr, "ordering-query-addr"), p.take(&o.PageAddr, "ordering-page-addr"),
	); err != nil {
		return err
	}
	config, err := p.calculatorConfig()
	if err != nil {
		return err
	}
	components, err := calculator.Everything(config)
	if err != nil {
		return err
	}
	own := p.calculatorSite()
	own.pages = calculatorPage(p.settings.Calculator.Addr, orderingSystem(p.settings))
	p.add(own, components...)
	if _, err := p.orderingCommand(); err != nil {
		return err
	}
	if _, err := p.orderingQuery(); err != nil {
		return err
	}
	_, err = p.orderingPage([]pages.System{{Name: "calculator", Addr: p.settings.Calculator.Addr, Path: "/"}},
		localURL(p.settings.Ordering.CommandAddr), localURL(p.settings.Ordering.QueryAddr))
	return err
}

// localURL is an address as this machine reaches it.
func localURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr // settings have been checked
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// banner says where everything is.
func (p *process) banner(out io.Writer, embedded bool) {
	fmt.Fprintf(out, "\nTidemill is up.\n\n")
	urls := map[string]string{}
	for _, server := range p.servers() {
		urls[server.flag] = server.url()
	}
	fmt.Fprintf(out, "  start page     %s\n", urls["ordering-page-addr"])
	fmt.Fprintf(out, "  calculator     %s  (a page for browsers, and HTTP)\n", urls["calculator-addr"])
	fmt.Fprintf(out, "  ordering       %s/ordering  (the page; HTTP: commands %s, queries %s)\n",
		urls["ordering-page-addr"], urls["ordering-command-addr"], urls["ordering-query-addr"])
	if p.admin != nil {
		fmt.Fprintf(out, "  operators      %s  (/metrics, /healthz, /readyz)\n", p.admin.url())
	}
	kind := "brokers        "
	if embedded {
		kind = "broker         "
	}
	fmt.Fprintf(out, "  %s%s\n  data           %s\n", kind, p.settings.Kafka.String(), p.settings.Data)
	if p.settings.Auth.KeyFile == "" {
		fmt.Fprintf(out, "  authorization  off: everyone who can reach these addresses may do everything (--auth-key-file turns it on)\n")
	} else {
		fmt.Fprintf(out, "  authorization  bearer tokens\n")
	}
	fmt.Fprintf(out, "\n  curl -d '{\"value\": 3}' -H 'Content-Type: application/json' -X POST %s/values\n\n", urls["calculator-addr"])
}
