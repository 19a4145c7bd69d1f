package calculator

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/views"
)

// createSchema and updateSchema are the bodies of POST /values and PUT /values/{id}.
const (
	createSchema = `{
		"type": "object",
		"properties": {
			"value": {"type": "number"},
			"value_id": {"type": "string", "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"}
		},
		"required": ["value"],
		"additionalProperties": false
	}`
	updateSchema = `{
		"type": "object",
		"properties": {
			"operation": {"enum": ["ADD", "MULTIPLY"]},
			"value": {"type": "number"}
		},
		"required": ["operation", "value"],
		"additionalProperties": false
	}`
)

// createBody is the body of POST /values. Without an id the server chooses one.
type createBody struct {
	Value   Number `json:"value"`
	ValueID string `json:"value_id"`
}

// updateBody is the body of PUT /values/{id}.
type updateBody struct {
	Operation string `json:"operation"`
	Value     Number `json:"value"`
}

// canonical returns a UUID in lower case: one value must not have two keys.
func canonical(id string) (string, bool) {
	if len(id) != 36 {
		return "", false
	}
	parsed, err := uuid.Parse(id)
	if err != nil {
		return "", false
	}
	return parsed.String(), true
}

// present returns a value for an answer: from the view of this process, or of another.
type present func(ctx context.Context, id string) (Value, error)

// routes are POST /values and PUT /values/{id}.
func routes(present present) []commands.Route[string, Command] {
	create := commands.Route[string, Command]{
		Method: http.MethodPost, Pattern: "/values", Schema: createSchema, Scopes: []string{ScopeWrite},
		Build: buildCreate, Status: http.StatusCreated,
		Location: func(_ *commands.Request, id string, _ Command) string { return "/values/" + url.PathEscape(id) },
		Render: func(_ context.Context, _ *commands.Request, id string, c Command, _ commands.Outcome) ([]byte, error) {
			return render(nil, id, Value{Value: c.Data.Value})
		},
	}
	update := commands.Route[string, Command]{
		Method: http.MethodPut, Pattern: "/values/{id}", Schema: updateSchema, Scopes: []string{ScopeWrite}, Build: buildUpdate,
	}
	if present != nil {
		update.Render = func(ctx context.Context, _ *commands.Request, id string, _ Command, _ commands.Outcome) ([]byte, error) {
			value, err := present(ctx, id)
			if err != nil {
				return nil, err
			}
			return render(nil, id, value)
		}
	}
	return []commands.Route[string, Command]{create, update}
}

// The scopes that a principal needs where authorization is on.
const (
	ScopeWrite = "calculator:write"
	ScopeRead  = "calculator:read"
)

func buildCreate(r *commands.Request) (string, Command, error) {
	body, err := r.JSON[createBody]()
	if err != nil {
		return "", Command{}, err
	}
	id := r.NewID("value-id")
	if body.ValueID != "" {
		id = strings.ToLower(body.ValueID)
	}
	return id, Command{
		ID: r.CommandID(), Action: "CreateValue", Timestamp: r.Timestamp(),
		Data: Request{ValueID: id, Value: body.Value},
	}, nil
}

func buildUpdate(r *commands.Request) (string, Command, error) {
	body, err := r.JSON[updateBody]()
	if err != nil {
		return "", Command{}, err
	}
	id, ok := canonical(r.PathValue("id"))
	if !ok {
		return "", Command{}, commands.Invalid("", "the id in the path is not a UUID such as ffffffff-ffff-ffff-ffff-ffffffffffff")
	}
	return id, Command{
		ID: r.CommandID(), Action: "UpdateValue", Timestamp: r.Timestamp(),
		Data: Request{ValueID: id, Operation: body.Operation, Value: body.Value},
	}, nil
}

// resource is how values are read.
var resource = views.HTTP[string, Value]{
	Path:     "/values",
	ParseKey: parseID,
	ParsePrefix: func(text string) ([]byte, error) {
		return []byte(strings.ToLower(text)), nil
	},
	Render: render,
}

// parseID reads an id in a URL. Values that other producers made may have ids of another form.
func parseID(text string) (string, error) {
	if id, ok := canonical(text); ok {
		return id, nil
	}
	return text, nil
}

// render appends {"value_id":"…","value":9.0}.
func render(dst []byte, id string, value Value) ([]byte, error) {
	dst = append(dst, `{"value_id":`...)
	dst, err := codecs.AppendJSONString(dst, id)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `,"value":`...)
	dst = value.Value.append(dst)
	return append(dst, '}'), nil
}
