package settings

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/processors"
)

// duration returns the field of a setting that is a duration; it is the only kind left.
func duration(field any) *time.Duration {
	d, _ := field.(*time.Duration)
	return d
}

// problems returns everything that is wrong with values that were understood.
func (s *Settings) problems() []error {
	var wrong []error
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if s.Data == "" {
		add("data: no directory; name one that survives restarts")
	}
	if s.Topics.Partitions == 0 { // where zero stands for the default, below
		add("topics.partitions: 0; want 1 to 10000")
	}
	if s.Processor.CacheMB < 1 || s.Processor.CacheMB > maxCacheMB {
		add("processor.cache-mb: %d; want 1 to %d", s.Processor.CacheMB, maxCacheMB)
	}
	p := s.ProcessorConfig()
	p.StateDir = "checked above"
	if err := p.Validate(); err != nil {
		wrong = append(wrong, err)
	}
	s.addresses(add)
	if s.Calculator.Wait <= 0 {
		add("calculator.wait: %s; want more than 0", s.Calculator.Wait)
	}
	if s.Calculator.Standbys < 0 {
		add("calculator.standbys: %d; want 0 or more", s.Calculator.Standbys)
	}
	if s.Calculator.Standbys > 0 && s.Calculator.URL == "" {
		add("calculator.standbys: they need calculator.url; without it each instance has a full copy")
	}
	if s.Ordering.Wait <= 0 {
		add("ordering.wait: %s; want more than 0", s.Ordering.Wait)
	}
	if s.Ordering.Standbys < 0 || s.Ordering.Standbys > 100 {
		add("ordering.standbys: %d; want 0 to 100", s.Ordering.Standbys)
	}
	if s.Ordering.Standbys > 0 && s.Ordering.URL == "" {
		add("ordering.standbys: %d, and nothing is shared out; say with ordering.url where other instances reach this one", s.Ordering.Standbys)
	}
	if s.Auth.KeyFile == "" && (s.Auth.Issuer != "" || s.Auth.Audience != "") {
		add("auth.key-file: an issuer or audience is given and no key to check tokens with")
	}
	if _, err := s.Log.level(); err != nil {
		add("log.level: %q; want debug, info, warn or error", s.Log.Level)
	}
	if s.Log.Format != "text" && s.Log.Format != "json" {
		add("log.format: %q; want text or json", s.Log.Format)
	}
	return wrong
}

// addresses checks what is listened on, and where others are found.
func (s *Settings) addresses(add func(format string, args ...any)) {
	for _, addr := range []struct{ key, value string }{
		{"calculator.addr", s.Calculator.Addr},
		{"admin.addr", s.Admin.Addr},
		{"broker.addr", s.Broker.Addr},
		{"ordering.command-addr", s.Ordering.CommandAddr},
		{"ordering.query-addr", s.Ordering.QueryAddr},
		{"ordering.page-addr", s.Ordering.PageAddr},
	} {
		if addr.key == "admin.addr" && addr.value == "" {
			continue
		}
		_, port, err := net.SplitHostPort(addr.value)
		number, err2 := strconv.Atoi(port)
		if err != nil || err2 != nil || number < 0 || number > 65535 {
			add("%s: %q is not host:port, such as :3030 or 127.0.0.1:3030", addr.key, addr.value)
		}
	}
	urls := []struct{ key, value string }{
		{"calculator.view-url", s.Calculator.ViewURL},
		{"calculator.subscriptions-url", s.Calculator.SubscriptionsURL},
		{"calculator.url", s.Calculator.URL},
		{"ordering.command-url", s.Ordering.CommandURL},
		{"ordering.url", s.Ordering.URL},
	}
	for _, query := range s.Ordering.QueryURLs {
		urls = append(urls, struct{ key, value string }{"ordering.query-url", cmp.Or(query, "://")})
	}
	for _, u := range urls {
		if parsed, err := url.Parse(u.value); u.value != "" && (err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https") {
			add("%s: %q is not a URL of http or https, such as http://view:3032", u.key, u.value)
		}
	}
}

// maxCacheMB is a terabyte: more is a mistake.
const maxCacheMB = 1 << 20

// onStop returns what processors are told to do at their stop; "" leaves it to the service.
func (p Processor) onStop() processors.OnStop {
	if p.OnStop == "auto" {
		return ""
	}
	return processors.OnStop(p.OnStop)
}

// ProcessorConfig returns what processors are made from, but for directory, logger and metrics.
func (s *Settings) ProcessorConfig() processors.Config {
	return processors.Config{
		Kafka: s.Kafka, InstanceID: s.Processor.InstanceID, Guarantee: processors.Guarantee(s.Processor.Guarantee),
		OnError: processors.OnError(s.Processor.OnError), OnStop: s.Processor.onStop(), CreateTopics: s.Topics.Create, Partitions: s.Topics.Partitions,
		Replication: s.Topics.Replication, CommitInterval: s.Processor.CommitInterval, SessionTimeout: s.Processor.SessionTimeout,
		HeartbeatInterval: s.Processor.HeartbeatInterval, RebalanceTimeout: s.Processor.RebalanceTimeout,
		CacheBytes: int(min(max(s.Processor.CacheMB, 0), maxCacheMB)) << 20,
	}
}

func (l Log) level() (slog.Level, error) {
	var level slog.Level
	switch strings.ToLower(l.Level) {
	case "debug", "info", "warn", "error":
		return level, level.UnmarshalText([]byte(l.Level))
	}
	return level, errors.New("unknown level")
}

// Logger returns a logger to standard error.
func (l Log) Logger() *slog.Logger {
	level, err := l.level()
	if err != nil {
		level = slog.LevelInfo // Load has refused it
	}
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// masked stands for a secret that is set.
const masked = "********"

// YAML returns the settings as a file of settings that gives the same again, but for secrets, which are masked.
func (s Settings) YAML() string {
	var out bytes.Buffer
	section := ""
	for _, setting := range s.list() {
		name := setting.key
		if at := strings.IndexByte(name, '.'); at >= 0 {
			if name[:at] != section {
				section = name[:at]
				fmt.Fprintf(&out, "%s:\n", section)
			}
			name = "  " + name[at+1:]
		} else {
			section = ""
		}
		value := setting.yaml()
		if setting.secret && value != `""` {
			value = strconv.Quote(masked)
		}
		fmt.Fprintf(&out, "%s: %s  # %s; %s\n", name, value, strings.ReplaceAll(setting.usage, "`", ""), setting.env())
	}
	return out.String()
}

// yaml returns the value as YAML.
func (s setting) yaml() string {
	switch field := s.field.(type) {
	case *bool:
		return strconv.FormatBool(*field)
	case *string:
		return strconv.Quote(*field)
	case *[]string:
		quoted := make([]string, 0, len(*field))
		for _, text := range *field {
			quoted = append(quoted, strconv.Quote(text))
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case *int16:
		return strconv.Itoa(int(*field))
	case *int32:
		return strconv.Itoa(int(*field))
	}
	return duration(s.field).String()
}
