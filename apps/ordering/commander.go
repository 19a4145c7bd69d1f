package ordering

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/topology"
)

// placeSchema is the body of POST /orders. What the texts and the price may be is the decider's to say, and asked of the
// same function before the command is written.
const placeSchema = `{
	"type": "object",
	"properties": {
		"orderId": {"type": "string"},
		"customerId": {"type": "string"},
		"itemLabel": {"type": "string"},
		"itemPrice": {"type": ["number", "string"]}
	},
	"required": ["customerId", "itemLabel", "itemPrice"],
	"additionalProperties": false
}`

// placeBody is the body of POST /orders. Without an id the server chooses one.
type placeBody struct {
	OrderID    string    `json:"orderId"`
	CustomerID string    `json:"customerId"`
	ItemLabel  string    `json:"itemLabel"`
	ItemPrice  PriceText `json:"itemPrice"`
}

// newCommander returns a commander that asks the subscriptions beside it.
func newCommander(config service.Config, built *topology.Topology, outcomes *service.Subscriptions) (service.Component, error) {
	place := commands.Route[string, Command]{
		Method: http.MethodPost, Pattern: "/orders", Schema: placeSchema, Scopes: []string{ScopeWrite},
		Build: buildPlace, Allow: allow,
		// 202 at once, as the texts' client expects; one that wants to know more asks by Prefer.
		Wait: -1, Status: http.StatusCreated, Render: renderOrder, RenderPending: renderOrder,
		Location: func(_ *commands.Request, _ string, c Command) string {
			return "/customers/" + url.PathEscape(c.Data.CustomerID) + "/orders"
		},
	}
	cancel := commands.Route[string, Command]{
		Method: http.MethodDelete, Pattern: "/orders/{id}", Scopes: []string{ScopeWrite}, Parameters: []string{"customerId"},
		Build: buildCancel, Allow: allow,
	}
	return service.NewCommander(config, built, Commands, commands.Config[string, Command]{Outcomes: outcomes.Inner}, place, cancel)
}

func buildPlace(r *commands.Request) (string, Command, error) {
	body, err := r.JSON[placeBody]()
	if err != nil {
		return "", Command{}, err
	}
	if body.OrderID == "" {
		body.OrderID = r.NewID("order-id")
	}
	command := Command{ID: r.CommandID(), Action: PlaceOrder, Timestamp: r.Timestamp(), Data: Request(body)}
	details, err := validate(command)
	if wrong, ok := errors.AsType[*fault](err); ok {
		return "", Command{}, commands.Invalid("/"+wrong.member, wrong.text)
	}
	command.Data.ItemPrice = PriceText(details.ItemPrice.String())
	return body.OrderID, command, err
}

func buildCancel(r *commands.Request) (string, Command, error) {
	customers := r.Query()["customerId"]
	command := Command{ID: r.CommandID(), Action: CancelOrder, Timestamp: r.Timestamp(), Data: Request{OrderID: r.PathValue("id")}}
	switch {
	case !isOrderID(command.Data.OrderID):
		return "", Command{}, commands.Invalid("", "an order id is 1 to 64 letters, digits and any of . _ ~ -")
	case len(customers) == 1 && !isCustomerID(customers[0]):
		return "", Command{}, commands.Invalid("", "customerId in the query is not the id of a customer")
	case len(customers) == 1:
		command.Data.CustomerID = customers[0]
	default:
		command.Data.CustomerID = r.Principal().ID // empty while authorization is off
	}
	return command.Data.OrderID, command, nil
}

// allow lets a principal give commands for itself alone. Whether an order that it cancels is its own is for the decider.
func allow(principal commands.Principal, c Command) error {
	if principal.ID != "" && c.Data.CustomerID != principal.ID {
		return errors.New("orders can be placed and cancelled for oneself alone")
	}
	return nil
}

// renderOrder returns the order as it was asked for, whether it is decided about or not.
func renderOrder(_ context.Context, _ *commands.Request, _ string, c Command, _ commands.Outcome) ([]byte, error) {
	body, err := codecs.AppendJSONString([]byte(`{"orderId":`), c.Data.OrderID)
	if err == nil {
		body, err = codecs.AppendJSONString(append(body, `,"customerId":`...), c.Data.CustomerID)
	}
	if err == nil {
		body, err = codecs.AppendJSONString(append(body, `,"itemLabel":`...), c.Data.ItemLabel)
	}
	body = append(append(body, `,"itemPrice":`...), c.Data.ItemPrice...)
	return append(body, '}'), err
}
