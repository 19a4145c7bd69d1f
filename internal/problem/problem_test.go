package problem_test

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/problem"
)

func TestAppend(t *testing.T) {
	for name, test := range map[string]struct {
		details problem.Details
		want    string
	}{
		"zero": {problem.Details{}, `{"type":"about:blank","title":"Internal Server Error","status":500}`},
		"all": {
			problem.Details{Type: "https://tidemill.example/p", Title: "T", Status: 409, Detail: "d", Instance: "/i"},
			`{"type":"https://tidemill.example/p","title":"T","status":409,"detail":"d","instance":"/i"}`,
		},
		"extra": {
			problem.Details{Status: 404, Extra: map[string]any{"b": 1, "a": "x", "status": 7}},
			`{"type":"about:blank","title":"Not Found","status":404,"a":"x","b":1}`,
		},
		"extra that JSON cannot hold": {
			problem.Details{Status: 404, Extra: map[string]any{"a": math.NaN()}},
			`{"type":"about:blank","title":"Not Found","status":404}`,
		},
		"invalid UTF-8": {
			problem.Details{Status: 400, Detail: "\xff"},
			"{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"detail\":\"\ufffd\"}",
		},
	} {
		got := string(problem.Append(nil, test.details))
		if got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s: %s is not JSON", name, got)
		}
	}
	if got := string(problem.Append([]byte("x"), problem.Details{})); !strings.HasPrefix(got, "x{") {
		t.Errorf("Append lost what was there: %s", got)
	}
}

func TestWrite(t *testing.T) {
	recorder := httptest.NewRecorder()
	recorder.Header().Set("ETag", `"1"`)
	problem.Write(recorder, problem.Details{Status: http.StatusServiceUnavailable, Detail: "restoring", RetryAfter: 1200 * time.Millisecond})
	if recorder.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", recorder.Code)
	}
	for name, want := range map[string]string{
		"Content-Type": problem.ContentType, "Retry-After": "2", "ETag": "", "Cache-Control": "no-store",
	} {
		if got := recorder.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(recorder.Body.String(), `"detail":"restoring"`) {
		t.Errorf("body %s", recorder.Body)
	}
}

func TestMethodNotAllowed(t *testing.T) {
	recorder := httptest.NewRecorder()
	problem.MethodNotAllowed(recorder, httptest.NewRequest(http.MethodPut, "/x", nil), "GET, HEAD")
	if recorder.Code != http.StatusMethodNotAllowed || recorder.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("got %d, Allow %q", recorder.Code, recorder.Header().Get("Allow"))
	}
	recorder = httptest.NewRecorder()
	problem.NotFound(recorder, httptest.NewRequest(http.MethodGet, "/x", nil))
	if recorder.Code != http.StatusNotFound {
		t.Errorf("got %d", recorder.Code)
	}
}
