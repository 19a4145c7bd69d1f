package calculator

import (
	"github.com/tidemill/tidemill/apps/service"
)

// Config is what the components are made from. LogCommands logs the way of each command, found again by its id, through the
// processor and the view.
type Config struct {
	service.Config
	// ViewURL and SubscriptionsURL are where a commander finds the others when they run elsewhere, such as
	// "http://view:3032". Without the first it does not wait for the view; without the second it follows outcomes itself.
	ViewURL, SubscriptionsURL string
}

// Everything returns the five components for one process, in the order in which to start them: the commander answers from
// the subscriptions and the view beside it. Stop them in that order too.
func Everything(config Config) ([]service.Component, error) {
	var shown *view
	var outcomes *service.Subscriptions
	return service.All(
		func() (service.Component, error) { return Processor(config) },
		func() (_ service.Component, err error) {
			shown, err = newView(config)
			return shown, err
		},
		func() (service.Component, error) { return History(config) },
		func() (_ service.Component, err error) {
			outcomes, err = newSubscriptions(config)
			return outcomes, err
		},
		func() (service.Component, error) { return newCommander(config, shown, outcomes) },
	)
}
