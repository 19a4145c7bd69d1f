package commands

import (
	"log/slog"
	"sync"
	"time"
)

// shownCommands is how many lines about commands are shown in a second. Beyond, they are counted.
const shownCommands = 200

// commandLog shows the way of each command: at level Info where that is asked for and commands come singly, else at Debug.
type commandLog struct {
	logger *slog.Logger
	each   bool
	clock  func() time.Time

	mu     sync.Mutex
	second time.Time // when the present second began; guarded by mu
	shown  int       // in the present second; guarded by mu
	hidden int       // since it was last said; guarded by mu
}

// show logs one line about a command.
func (l *commandLog) show(message string, args ...any) {
	if !l.each {
		l.logger.Debug(message, args...)
		return
	}
	visible, first, hidden := l.count()
	if hidden > 0 {
		l.logger.Info("commands came too fast to show each", "hidden", hidden)
	}
	if first {
		l.logger.Info("commands come too fast to show each; counting them")
	}
	if visible {
		l.logger.Info(message, args...)
	}
}

// count says whether a line is shown, whether it is the first in its second that is not, and how many were not shown before.
func (l *commandLog) count() (visible, first bool, hidden int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.clock(); now.Sub(l.second) >= time.Second || now.Before(l.second) {
		l.second, l.shown = now, 0
		hidden, l.hidden = l.hidden, 0
	}
	if l.shown < shownCommands {
		l.shown++
		return true, false, hidden
	}
	l.hidden++
	return false, l.hidden == 1, hidden
}
