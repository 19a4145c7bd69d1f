package commands

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestCommandLog(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	show := func(each bool, level slog.Level) *commandLog {
		out.Reset()
		return &commandLog{
			logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})), each: each,
			clock: func() time.Time { return now },
		}
	}
	lines := func() int { return strings.Count(out.String(), "received") }

	log := show(false, slog.LevelInfo)
	log.show("received")
	if out.Len() != 0 {
		t.Errorf("shown unasked: %s", out.String())
	}
	log = show(false, slog.LevelDebug)
	log.show("received")
	if lines() != 1 {
		t.Error("not shown at level Debug")
	}

	log = show(true, slog.LevelInfo)
	for range shownCommands + 50 {
		log.show("received")
	}
	if lines() != shownCommands || strings.Count(out.String(), "counting them") != 1 {
		t.Errorf("%d lines of %d commands:\n%s", lines(), shownCommands+50, out.String()[max(0, out.Len()-300):])
	}
	now = now.Add(time.Second)
	log.show("received")
	if lines() != shownCommands+1 || !strings.Contains(out.String(), "hidden=50") {
		t.Errorf("after a second: %s", out.String()[max(0, out.Len()-300):])
	}
}
