package settings

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// ErrInvalid is wrapped round everything that is wrong with a configuration.
var ErrInvalid = errors.New("invalid configuration")

// add adds the setting to a flag set, with its present value as the default.
func (s setting) add(flags *pflag.FlagSet, name string) {
	switch field := s.field.(type) {
	case *bool:
		flags.BoolVar(field, name, *field, s.usage)
	case *string:
		flags.StringVar(field, name, *field, s.usage)
	case *[]string:
		flags.StringSliceVar(field, name, *field, s.usage)
	case *int16:
		flags.Int16Var(field, name, *field, s.usage)
	case *int32:
		flags.Int32Var(field, name, *field, s.usage)
	default:
		flags.DurationVar(duration(s.field), name, *duration(s.field), s.usage)
	}
}

// Load returns the settings: those of flags that were given, else of the environment, else of the file, else the defaults.
// flags may be nil. The error wraps ErrInvalid and lists all that is wrong.
func Load(flags *pflag.FlagSet, defaults Settings) (Settings, error) {
	loaded := defaults
	known := map[string]setting{}
	byFlag := map[string]string{}
	byEnv := map[string]string{}
	for _, s := range loaded.list() {
		known[s.key], byFlag[s.flagName()], byEnv[s.env()] = s, s.key, s.key
		if s.flag != "" { // the variable is found by the flag's name too: --tls and TIDEMILL_TLS
			byEnv[envName(s.flag)] = s.key
		}
	}
	k := koanf.New(".")
	from := map[string]string{} // by key: who said what is in effect
	wrong := loadFile(k, flags, known, from)
	if err := k.Load(env.Provider(".", env.Opt{Prefix: EnvPrefix, TransformFunc: func(name, value string) (string, any) {
		key, ok := byEnv[name]
		if !ok && !foreign(name) {
			wrong = append(wrong, fmt.Errorf("%s: there is no such variable%s", name, suggest(name, slices.Collect(maps.Keys(byEnv)))))
		}
		from[key] = name
		return key, value // "" is skipped
	}}), nil); err != nil {
		wrong = append(wrong, err)
	}
	if flags != nil {
		if err := k.Load(posflag.ProviderWithFlag(flags, ".", nil, func(f *pflag.Flag) (string, any) {
			if key, ok := byFlag[f.Name]; ok && f.Changed {
				from[key] = "--" + f.Name
				return key, f.Value.String()
			}
			return "", nil
		}), nil); err != nil {
			wrong = append(wrong, err)
		}
	}
	for _, s := range loaded.list() {
		if k.Exists(s.key) {
			if err := s.set(k.Get(s.key), from[s.key]); err != nil {
				wrong = append(wrong, err)
			}
		}
	}
	wrong = append(wrong, loaded.problems()...)
	if len(wrong) > 0 {
		return loaded, fmt.Errorf("%w:\n%w", ErrInvalid, errors.Join(wrong...))
	}
	return loaded, nil
}

// foreign reports whether a variable that begins as ours do is another's all the same: the one that names the file, those of
// this module's tests, and those that Kubernetes sets in every container where a service is called tidemill.
func foreign(name string) bool {
	return name == configVariable || strings.HasPrefix(name, EnvPrefix+"TEST_") || serviceLink.MatchString(name)
}

const configVariable = EnvPrefix + "CONFIG"

// serviceLink matches TIDEMILL_SERVICE_HOST, TIDEMILL_PORT_3030_TCP_ADDR and the like, also of services tidemill-…
// (Kubernetes documentation, "Accessing the Service", environment variables).
var serviceLink = regexp.MustCompile(`^TIDEMILL_(.*_)?(SERVICE_(HOST|PORT)(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// loadFile reads the file that --config or TIDEMILL_CONFIG names, and notes in from which keys it has. Keys that nothing knows
// are refused: a misspelt setting must not go unnoticed.
func loadFile(k *koanf.Koanf, flags *pflag.FlagSet, known map[string]setting, from map[string]string) []error {
	path := os.Getenv(configVariable)
	if flags != nil {
		if given, err := flags.GetString("config"); err == nil && given != "" {
			path = given
		}
	}
	if path == "" {
		return nil
	}
	var parser koanf.Parser
	switch filepath.Ext(path) {
	case ".yaml", ".yml":
		parser = yaml.Parser()
	case ".toml":
		parser = toml.Parser()
	default:
		return []error{fmt.Errorf("%s: a file of settings is YAML (.yaml, .yml) or TOML (.toml)", path)}
	}
	read := koanf.New(".")
	if err := read.Load(file.Provider(path), parser); err != nil {
		return []error{fmt.Errorf("reading %s: %w", path, err)}
	}
	var wrong []error
	for _, key := range read.Keys() {
		from[key] = path
		if _, ok := known[key]; !ok {
			wrong = append(wrong, fmt.Errorf("%s: there is no setting %q%s", path, key, suggest(key, slices.Collect(maps.Keys(known)))))
			read.Delete(key)
		}
	}
	if err := k.Merge(read); err != nil {
		wrong = append(wrong, err)
	}
	return wrong
}

// set takes a value from a file (of any type), or from environment and flags (text). from says which of them.
func (s setting) set(value any, from string) error {
	var given string
	switch value := value.(type) {
	case []any:
		parts := make([]string, 0, len(value))
		for _, part := range value {
			parts = append(parts, fmt.Sprint(part))
		}
		given = strings.Join(parts, ",")
	case []string:
		given = strings.Join(value, ",")
	default:
		given = fmt.Sprint(value)
	}
	if s.secret && given == masked {
		return fmt.Errorf("%s (%s): %s is what 'tidemill config' prints for a secret: put the secret itself there, or leave the key out", s.key, from, masked)
	}
	scratch := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.add(scratch, "x")
	field := reflect.ValueOf(s.field).Elem()
	before := reflect.ValueOf(field.Interface())
	if err := scratch.Lookup("x").Value.Set(given); err != nil {
		field.Set(before) // pflag leaves a zero behind, which would be told as a second problem
		shown := fmt.Sprintf("%q", given)
		if s.secret {
			shown = "the value"
		}
		return fmt.Errorf("%s (%s): %s does not fit: want %s", s.key, from, shown, s.wants())
	}
	return nil
}

// wants says what the setting takes.
func (s setting) wants() string {
	switch s.field.(type) {
	case *bool:
		return "true or false"
	case *int16, *int32:
		return "a whole number"
	case *string, *[]string:
		return "text"
	}
	return "a duration such as 500ms or 10s"
}

// Given reports whether a setting is given by a flag, the environment or the file, whatever its value.
func Given(flags *pflag.FlagSet, key string) (bool, error) {
	defaults := Default()
	for _, s := range defaults.list() {
		if s.key != key {
			continue
		}
		if _, ok := os.LookupEnv(s.env()); ok {
			return true, nil
		}
		if _, ok := os.LookupEnv(envName(s.flagName())); ok {
			return true, nil
		}
		if f := flags.Lookup(s.flagName()); f != nil && f.Changed {
			return true, nil
		}
	}
	read := koanf.New(".")
	known := map[string]setting{}
	for _, s := range defaults.list() {
		known[s.key] = s
	}
	if wrong := loadFile(read, flags, known, map[string]string{}); len(wrong) > 0 {
		return false, fmt.Errorf("%w:\n%w", ErrInvalid, errors.Join(wrong...))
	}
	return read.Exists(key), nil
}
