package main

import (
	"errors"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/apps/pages"
	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/internal/settings"
)

func newOrdering() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ordering", Short: "Run one part of online ordering in a process of its own", Args: noArguments,
		Long: `Runs one part of online ordering. The two services are joined by the log alone, each with its own private state: either may be
down while the other works. The page server forwards a browser's requests to them.

  command  takes orders, decides, and tells what became of commands   POST /orders, DELETE /orders/{id}, GET /commands/{id}
  query    shows customers' orders in buckets, live                   GET /customers/{id}/orders, GET /orders
  page     ordering's page and the start page                         GET /, GET /ordering, and what the services answer`,
		Example: `  tidemill ordering command --brokers kafka:9092 --data /var/lib/tidemill
  tidemill ordering query   --brokers kafka:9092 --data /var/lib/tidemill
  tidemill ordering query   --brokers kafka:9092 --data /var/lib/tidemill --ordering-query-addr :9002 --url http://10.0.0.7:9002 --standbys 1
  tidemill ordering page    --ordering-command-url http://command:9001 --ordering-query-url http://query:9002,http://query-2:9002`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	common := []settings.Group{
		settings.GroupProcessor, settings.GroupAuth, settings.GroupData, settings.GroupKafka, settings.GroupTopics, settings.GroupAdmin, settings.GroupLog,
	}
	command, query := settings.Default(), settings.Default()
	command.Admin.Addr, query.Admin.Addr = "127.0.0.1:9011", "127.0.0.1:9012"
	// Users wait for what an instance that has died would have told them: the others are to hear of it as soon as brokers allow.
	query.Processor.SessionTimeout, query.Processor.HeartbeatInterval = 6*time.Second, 300*time.Millisecond
	cmd.AddCommand(
		newOrderingService("command", "Take orders, decide, and tell what became of commands", command, (*process).orderingCommand,
			append([]settings.Group{settings.GroupCommand}, common...)),
		newOrderingService("query", "Show customers' orders in buckets, live", query, (*process).orderingQuery,
			append([]settings.Group{settings.GroupQuery}, common...)),
		newOrderingPage(),
	)
	return cmd
}

// newOrderingService returns the command that runs one service; add makes its site.
func newOrderingService(name, short string, defaults settings.Settings, add func(*process) (*site, error), groups []settings.Group) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: short, Args: noArguments,
		Long:    short + ".\n\nIt waits for brokers that do not answer yet, makes the topics it misses (unless --topics-create=false), and is ready\nwhen /readyz says so. SIGINT and SIGTERM end it within 5 seconds.",
		Example: "  tidemill ordering " + name + " --brokers kafka1:9092,kafka2:9092 --data /var/lib/tidemill",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := load(cmd, defaults)
			if err != nil {
				return err
			}
			return runService(cmd, s, add)
		},
	}
	return withFlags(cmd, defaults, groups...)
}

// orderingCommand adds the site of the command service.
func (p *process) orderingCommand() (*site, error) {
	return p.orderingService("ordering's command service", p.settings.Ordering.CommandAddr, "ordering-command-addr", ordering.CommandService)
}

// orderingQuery adds the site of the query service.
func (p *process) orderingQuery() (*site, error) {
	// Other instances are to be told the port that is listened on.
	if err := p.take(&p.settings.Ordering.QueryAddr, "ordering-query-addr"); err != nil {
		return nil, err
	}
	p.settings.Ordering.URL = withPort(p.settings.Ordering.URL, p.settings.Ordering.QueryAddr)
	return p.orderingService("ordering's query service", p.settings.Ordering.QueryAddr, "ordering-query-addr", ordering.QueryService)
}

func (p *process) orderingService(name, addr, flag string, make func(ordering.Config) ([]service.Component, error)) (*site, error) {
	config, err := p.orderingConfig()
	if err != nil {
		return nil, err
	}
	components, err := make(config)
	if err != nil {
		return nil, err
	}
	s := p.site(name, addr, flag)
	p.add(s, components...)
	return s, nil
}

func newOrderingPage() *cobra.Command {
	defaults := settings.Default()
	defaults.Admin.Addr = "127.0.0.1:9010"
	cmd := &cobra.Command{
		Use: "page", Short: "Serve ordering's page and the start page", Args: noArguments,
		Long: `Serves the pages, and forwards what they ask for to the two services, so that a browser has one origin. Either service may be
away: the page says which, and what works all the same.`,
		Example: "  tidemill ordering page --ordering-command-url http://command:9001 --ordering-query-url http://query:9002",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := load(cmd, defaults)
			if err != nil {
				return err
			}
			return runService(cmd, s, func(p *process) (*site, error) {
				return p.orderingPage(nil, s.Ordering.CommandURL, s.Ordering.QueryURLs...)
			})
		},
	}
	return withFlags(cmd, defaults, settings.GroupPage, settings.GroupServices, settings.GroupAdmin, settings.GroupLog)
}

// runService runs a process with the one site that add makes.
func runService(cmd *cobra.Command, s settings.Settings, add func(p *process) (*site, error)) error {
	logger := s.Log.Logger()
	ctx, cancel := signals(cmd.Context(), logger)
	defer cancel()
	p := newProcess(s, logger)
	if _, err := add(p); err != nil {
		return errors.Join(err, p.discard())
	}
	return p.run(ctx, nil, func() {
		var attributes []any
		for _, server := range p.servers() {
			attributes = append(attributes, server.name, server.url())
		}
		logger.Info("started", attributes...)
	})
}

// orderingConfig returns what ordering's services are made from.
func (p *process) orderingConfig() (config ordering.Config, err error) {
	o := p.settings.Ordering
	if config.Thresholds, err = ordering.ParseThresholds(o.AffordableFrom, o.AffordableTo); err != nil {
		return config, err
	}
	config.Config, err = p.serviceConfig("ordering")
	config.Wait, config.URL, config.Standbys = o.Wait, o.URL, int(o.Standbys)
	return config, err
}

// orderingPage adds the site of ordering's page and the start page. others are systems beside ordering.
func (p *process) orderingPage(others []pages.System, commandURL string, queryURLs ...string) (*site, error) {
	s := p.site("ordering's page", p.settings.Ordering.PageAddr, "ordering-page-addr")
	served, err := pages.NewOrdering(pages.OrderingConfig{
		CommandURL: commandURL, QueryURLs: queryURLs, Logger: p.logger.With("component", "page"),
		Systems: append(others, orderingSystem(p.settings)),
	})
	s.pages = func(mux *http.ServeMux) error { return served.Mount(mux) }
	return s, err
}

// orderingSystem is where other pages find ordering's.
func orderingSystem(s settings.Settings) pages.System {
	return pages.System{Name: "ordering", Addr: s.Ordering.PageAddr, Path: "/ordering"}
}
