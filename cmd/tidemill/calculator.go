package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/pages"
	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/internal/settings"
)

func newCalculator() *cobra.Command {
	cmd := &cobra.Command{
		Use: "calculator", Short: "Run one component of the calculator in a process of its own", Args: noArguments,
		Long: `Runs one of the calculator's five components against a Kafka of yours. The log joins them: start as many of each, on as
many machines, as you like. Processors share the partitions; views, histories and subscriptions each have a full copy, unless views are told
their URL (--calculator-url): then they share the partitions, and any of them answers about all values.

  commander      takes in commands over HTTP            POST /values, PUT /values/{id}
  processor      makes events of commands, exactly once
  view           answers queries over HTTP              GET /values, GET /values/{id}
  history        tells how values came to be            GET /values/{id}/history
  subscriptions  tells what became of commands          GET /commands/{id}, GET /outcomes`,
		Example: `  tidemill calculator processor     --brokers kafka:9092 --data /var/lib/tidemill
  tidemill calculator view          --brokers kafka:9092 --data /var/lib/tidemill
  tidemill calculator subscriptions --brokers kafka:9092 --data /var/lib/tidemill
  tidemill calculator commander     --brokers kafka:9092 --calculator-view-url http://view:3032`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	common := []settings.Group{settings.GroupData, settings.GroupKafka, settings.GroupTopics, settings.GroupAdmin, settings.GroupLog}
	web := append([]settings.Group{settings.GroupCalculator, settings.GroupAuth}, common...)
	cmd.AddCommand(
		newComponent("commander", "Take in commands over HTTP", calculator.Commander, "127.0.0.1:3030", "127.0.0.1:3031", append([]settings.Group{settings.GroupRemote}, web...)),
		newComponent("processor", "Make events of commands, exactly once", calculator.Processor, "127.0.0.1:3030", "127.0.0.1:3041", append([]settings.Group{settings.GroupProcessor}, common...)),
		newComponent("view", "Answer queries over HTTP", calculator.View, "127.0.0.1:3032", "127.0.0.1:3042", append([]settings.Group{settings.GroupView}, web...)),
		newComponent("history", "Tell how values came to be", calculator.History, "127.0.0.1:3034", "127.0.0.1:3044", web),
		newComponent("subscriptions", "Tell what became of commands", calculator.Subscriptions, "127.0.0.1:3033", "127.0.0.1:3043", web),
	)
	return cmd
}

// newComponent returns the command that runs one component. Each has ports of its own, so that all can run on one machine.
func newComponent(name, short string, make func(calculator.Config) (service.Component, error), addr, admin string, groups []settings.Group) *cobra.Command {
	defaults := settings.Default()
	defaults.Calculator.Addr, defaults.Admin.Addr = addr, admin
	cmd := &cobra.Command{
		Use: name, Short: short, Args: noArguments,
		Long:    short + ".\n\nIt waits for brokers that do not answer yet, makes the topics it misses (unless --topics-create=false), and is ready\nwhen /readyz of the admin address says so. SIGINT and SIGTERM end it within 5 seconds.",
		Example: fmt.Sprintf("  tidemill calculator %s --brokers kafka1:9092,kafka2:9092 --data /var/lib/tidemill", name),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := load(cmd, defaults)
			if err != nil {
				return err
			}
			return runComponent(cmd.Context(), s, make)
		},
	}
	return withFlags(cmd, defaults, groups...)
}

// calculatorConfig returns what the calculator's components are made from.
func (p *process) calculatorConfig() (config calculator.Config, err error) {
	c := p.settings.Calculator
	config.ViewURL, config.SubscriptionsURL = c.ViewURL, c.SubscriptionsURL
	config.Config, err = p.serviceConfig("calculator")
	config.Wait, config.URL, config.Standbys = c.Wait, c.URL, int(c.Standbys)
	return config, err
}

// calculatorSite adds the calculator's address.
func (p *process) calculatorSite() *site {
	return p.site("the calculator", p.settings.Calculator.Addr, "calculator-addr")
}

// calculatorPage serves the calculator's page at the root, with links to it and to other systems.
func calculatorPage(addr string, others ...pages.System) func(mux *http.ServeMux) error {
	return func(mux *http.ServeMux) error {
		systems := append([]pages.System{{Name: "calculator", Addr: addr, Path: "/"}}, others...)
		return errors.Join(pages.Mount(mux, pages.Calculator, "/"), pages.Files(mux, systems...))
	}
}

func runComponent(ctx context.Context, s settings.Settings, make func(calculator.Config) (service.Component, error)) error {
	logger := s.Log.Logger()
	ctx, cancel := signals(ctx, logger)
	defer cancel()
	p := newProcess(s, logger)
	config, err := p.calculatorConfig()
	if err != nil {
		return err
	}
	component, err := make(config)
	if err != nil {
		return err
	}
	own := p.calculatorSite()
	p.add(own, component)
	if component.Name() == "commander" {
		own.pages = calculatorPage(s.Calculator.Addr) // for where a gateway makes one origin of all components
	}
	return p.run(ctx, nil, func() {
		attributes := []any{"component", component.Name(), "brokers", s.Kafka.String(), "data", s.Data, "authorization", config.Authorizer != nil}
		if own.server != nil {
			attributes = append(attributes, "url", own.server.url())
		}
		if p.admin != nil {
			attributes = append(attributes, "admin", p.admin.url())
		}
		logger.Info("started", attributes...)
	})
}
