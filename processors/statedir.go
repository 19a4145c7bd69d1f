package processors

import (
	"encoding/hex"
	"encoding/json/v2"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"github.com/google/uuid"
)

// stateDir is an application's directory: a lock, the instance's id, the ids of the topics that the state follows from,
// and a directory for each sub-topology's tasks.
type stateDir struct {
	path string
	lock *flock.Flock
}

func openStateDir(path string) (*stateDir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("making the state directory: %w", err)
	}
	lock := flock.New(filepath.Join(path, "LOCK"))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking state directory %s: %w", path, err)
	}
	if !held {
		return nil, fmt.Errorf("%w: %s: another process runs on it; stop that one, or give this one a directory of its own", ErrStateInUse, path)
	}
	return &stateDir{path: path, lock: lock}, nil
}

// close lets the directory go. That the lock file stays is intended: removing it would race with the next owner.
func (s *stateDir) close() { _ = s.lock.Unlock() }

func (s *stateDir) tasks(sub string) string { return filepath.Join(s.path, "tasks", sub) }

// instanceID returns the configured id, or the one kept in the directory, made on first use.
func (s *stateDir) instanceID(configured string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	path := filepath.Join(s.path, "instance")
	data, err := os.ReadFile(path)
	if err == nil {
		id := strings.TrimSpace(string(data))
		if err := checkInstanceID(id); err != nil || id == "" {
			return "", fmt.Errorf("%s holds no instance id: remove the file, or configure one", path)
		}
		return id, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the instance id: %w", err)
	}
	id := uuid.NewString()
	if err := writeFile(path, []byte(id+"\n")); err != nil {
		return "", fmt.Errorf("keeping the instance id: %w", err)
	}
	return id, nil
}

// checkTopics compares the topics' ids with those of the last run and keeps the present ones.
func (s *stateDir) checkTopics(application string, present map[string][16]byte) error {
	path := filepath.Join(s.path, "topics.json")
	known := map[string]string{}
	data, err := os.ReadFile(path)
	if err == nil {
		err := json.Unmarshal(data, &known)
		if err == nil && known == nil {
			err = errors.New("it holds null")
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w; remove the file if the topics are the same as before", path, err)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading the known topics: %w", err)
	}
	var wrong []error
	for topic, id := range present {
		now := hex.EncodeToString(id[:])
		if before, ok := known[topic]; ok && before != now {
			wrong = append(wrong, fmt.Errorf("%w: %s is not the topic that the state in %s follows from; if that is meant, run 'tidemill reset %s'", ErrTopicRecreated, topic, s.path, application))
		}
		known[topic] = now
	}
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	data, err = json.Marshal(known, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("keeping the known topics: %w", err)
	}
	return writeFile(path, data)
}

// writeFile replaces a file as a whole: a crash leaves the old or the new one.
func writeFile(path string, data []byte) error {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
