package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// fetchTimeout bounds the download of Kafka's jars.
const fetchTimeout = 10 * time.Minute

// missing names the program without which there is no real Kafka.
func missing() string {
	if _, err := exec.LookPath("java"); err != nil {
		return "java is not on the PATH (Java 17 or later is needed)"
	}
	root, err := moduleRoot()
	if err != nil {
		return err.Error()
	}
	if _, err := os.Stat(filepath.Join(root, ".cache", "kafka", "complete")); err == nil {
		return ""
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return "mvn is not on the PATH, and Kafka's jars are not yet in .cache/kafka"
	}
	return ""
}

// Libs returns the directory of Kafka's jars, fetched on first use: a Java class
// path is Libs + "/*". It skips the test as Real does.
func Libs(t interface {
	Helper()
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
},
) string {
	t.Helper()
	if reason := missing(); reason != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("kafkatest: no Kafka jars, and in CI these tests may not be skipped: %s", reason)
		}
		t.Skipf("kafkatest: no Kafka jars: %s", reason)
	}
	dir, err := libs()
	if err != nil {
		t.Fatalf("kafkatest: %v", err)
	}
	return dir
}

// libs fetches what test/kafka/pom.xml names into .cache/kafka/libs. Test
// binaries that run at the same time take turns, so that one of them fetches.
func libs() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	cache := filepath.Join(root, ".cache", "kafka")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking %s: %w", cache, err)
	}
	pom := filepath.Join(root, "test", "kafka", "pom.xml")
	want, err := os.ReadFile(pom)
	if err != nil {
		return "", err
	}
	dir, complete := filepath.Join(cache, "libs"), filepath.Join(cache, "complete")
	if have, err := os.ReadFile(complete); err == nil && bytes.Equal(have, want) {
		return dir, nil
	}
	if err := errors.Join(os.RemoveAll(complete), os.RemoveAll(dir)); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	mvn := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", "-DoutputDirectory="+dir)
	if out, err := mvn.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetching Kafka with Maven: %w\n%s", err, out)
	}
	return dir, os.WriteFile(complete, want, 0o644)
}

// moduleRoot is the directory of go.mod above the test's.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = up
	}
}
