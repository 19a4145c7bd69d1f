package commands

import (
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// maxViolations bounds what one answer lists.
const maxViolations = 10

// schema is a compiled JSON Schema, safe for concurrent use.
type schema struct{ compiled *jsonschema.Schema }

// noLoader keeps a schema from reading files or the network.
type noLoader struct{}

// Load implements jsonschema.URLLoader.
func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is not part of the schema; put what it refers to under $defs", url)
}

// compile reads a schema of draft 2020-12, unless it says otherwise itself. Formats are asserted.
func compile(text string) (*schema, error) {
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("the schema is no JSON: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.UseLoader(noLoader{})
	const name = "urn:tidemill:body"
	if err := compiler.AddResource(name, document); err != nil {
		return nil, fmt.Errorf("the schema cannot be taken: %w", err)
	}
	compiled, err := compiler.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("the schema does not compile: %w", err)
	}
	return &schema{compiled: compiled}, nil
}

// check validates a parsed body.
func (s *schema) check(value any) *refusal {
	err := s.compiled.Validate(value)
	if err == nil {
		return nil
	}
	bad := refuse(http.StatusUnprocessableEntity, "the body does not match what is wanted here")
	violation, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return bad
	}
	collect(bad, violation, message.NewPrinter(language.English))
	if len(bad.members) > 0 {
		bad.detail = "the body does not match what is wanted here: " + bad.members[0].Detail
	}
	return bad
}

// collect lists the innermost violations, which name the members.
func collect(bad *refusal, violation *jsonschema.ValidationError, printer *message.Printer) {
	for _, cause := range violation.Causes {
		collect(bad, cause, printer)
	}
	if len(violation.Causes) > 0 || len(bad.members) >= maxViolations {
		return
	}
	var pointer jsontext.Pointer
	for _, name := range violation.InstanceLocation {
		pointer = pointer.AppendToken(name)
	}
	switch what := violation.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range what.Properties[:min(len(what.Properties), maxViolations)] {
			bad.at(pointer.AppendToken(name), "there is no member of this name")
		}
	case *kind.Required:
		for _, name := range what.Missing {
			bad.at(pointer.AppendToken(name), "this member is missing")
		}
	default:
		bad.at(pointer, violation.ErrorKind.LocalizedString(printer))
	}
}
