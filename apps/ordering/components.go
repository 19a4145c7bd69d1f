package ordering

import (
	"errors"

	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/processors"
)

// The scopes that a principal needs where authorization is on.
const (
	ScopeWrite = "ordering:write"
	ScopeRead  = "ordering:read"
)

// Config is what the services are made from. With an Authorizer, its principal's ID is the customer.
type Config struct {
	service.Config
	// Thresholds part the buckets of the query service; zero means DefaultThresholds.
	Thresholds Thresholds
}

// CommandService returns the components of the command service, in the order in which to start and stop them: the
// processor, the subscriptions and the commander, which answers from the subscriptions beside it.
func CommandService(config Config) ([]service.Component, error) {
	built, _, err := Topology()
	if err != nil {
		return nil, err
	}
	var outcomes *service.Subscriptions
	return service.All(
		func() (service.Component, error) {
			return service.NewProcessor(config.Named("command_processor"), "command processor", built)
		},
		func() (_ service.Component, err error) {
			outcomes, err = newSubscriptions(config.Named("subscriptions"), built)
			return outcomes, err
		},
		func() (service.Component, error) { return newCommander(config.Named("commander"), built, outcomes) },
	)
}

// QueryService returns the components of the query service, in the order in which to start and stop them: the processor of
// the query application and the views that answer.
func QueryService(config Config) ([]service.Component, error) {
	if config.Thresholds == (Thresholds{}) {
		config.Thresholds = DefaultThresholds()
	}
	if config.URL != "" && config.Processor.OnStop == "" {
		config.Processor.OnStop = processors.LeaveGroup // the others have the customers, and shall tell what is new of them
	}
	built, tables, err := queryTopology(config.Thresholds)
	if err != nil {
		return nil, errors.Join(err, config.Validate())
	}
	var writes *service.Processor
	return service.All(
		func() (_ service.Component, err error) {
			writes, err = service.NewProcessor(config.Named("query_processor"), "query processor", built)
			return writes, err
		},
		func() (service.Component, error) { return newQueried(config, built, tables, writes) },
	)
}
