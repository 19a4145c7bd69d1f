package auth_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tidemill/tidemill/commands/auth"
)

func TestCredentialsAreForwarded(t *testing.T) {
	for _, credentials := range []string{"", "Bearer abc"} {
		in := httptest.NewRequest(http.MethodPost, "/values", nil)
		if credentials != "" {
			in.Header.Set("Authorization", credentials)
		}
		out := httptest.NewRequest(http.MethodGet, "http://view/values", nil)
		auth.Attach(auth.Forward(in), out)
		if got := out.Header.Get("Authorization"); got != credentials {
			t.Errorf("the component is shown %q, the client showed %q", got, credentials)
		}
	}
}
