package processors

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzKnownTopics: whatever the file of the known topics holds, the state directory is taken or refused with a reason, and what
// was taken is known the next time.
func FuzzKnownTopics(f *testing.F) {
	f.Add([]byte(`{"commands":"00000000000000000000000000000001"}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"events":"ff","events":"00"}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, data []byte) {
		state := &stateDir{path: t.TempDir()}
		path := filepath.Join(state.path, "topics.json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		present := map[string][16]byte{"commands": {15: 1}, "events": {15: 2}}
		if err := state.checkTopics("app", present); err != nil {
			return
		}
		if err := state.checkTopics("app", present); err != nil {
			t.Errorf("what was taken is refused the next time: %v", err)
		}
		if err := state.checkTopics("app", map[string][16]byte{"commands": {15: 3}}); !errors.Is(err, ErrTopicRecreated) {
			t.Errorf("another topic under the same name: %v", err)
		}
	})
}
