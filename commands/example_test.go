package commands_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/commands"
)

// Deposit is the command of the example.
type Deposit struct {
	ID        string `json:"id"`
	Account   string `json:"account"`
	Pence     int64  `json:"pence"`
	Timestamp int64  `json:"timestamp"`
}

// A commander with one route. What does not match the schema is refused before anything is written, so that this
// example needs no broker.
func Example() {
	commander, err := commands.New(commands.Config[string, Deposit]{
		Application: "bank",
		Topic:       commands.Topic[string, Deposit]{Name: "bank-commands", Key: codecs.String(), Value: codecs.JSON[Deposit]()},
		Outputs: commands.Outputs{
			Group: "bank-commands", Events: []string{"bank-events"}, Rejections: []string{"bank-rejections"},
		},
		Cluster: commands.Cluster{Brokers: []string{"localhost:9092"}},
		Logger:  slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer commander.Close()
	err = commander.Handle(commands.Route[string, Deposit]{
		Method: http.MethodPost, Pattern: "/accounts/{account}/deposits", Status: http.StatusCreated,
		Schema: `{
			"type": "object",
			"properties": {"pence": {"type": "integer", "minimum": 1}},
			"required": ["pence"],
			"additionalProperties": false
		}`,
		Build: func(r *commands.Request) (string, Deposit, error) {
			type body struct {
				Pence int64 `json:"pence"`
			}
			b, err := r.JSON[body]()
			account := r.PathValue("account")
			return account, Deposit{ID: r.CommandID(), Account: account, Pence: b.Pence, Timestamp: r.Timestamp()}, err
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := httptest.NewRequest(http.MethodPost, "/accounts/7/deposits", strings.NewReader(`{"pence": -5}`))
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	commander.Handler().ServeHTTP(answer, request)
	fmt.Println(answer.Code, answer.Body)
	// Output: 422 {"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"the body does not match what is wanted here: minimum: got -5, want 1","errors":[{"detail":"minimum: got -5, want 1","pointer":"#/pence"}]}
}
