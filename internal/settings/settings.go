// Package settings is the configuration of the tidemill command: one structure, filled from flags, environment variables
// and a file, in that order of precedence, before the defaults.
//
// Every setting has a key, such as "calculator.addr". It is the path in the file (YAML or TOML), the name of the
// environment variable (TIDEMILL_CALCULATOR_ADDR) and of the flag (--calculator-addr).
package settings

import (
	"cmp"
	"strings"
	"time"

	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
)

// Settings is the whole configuration. Each command uses the groups it has flags for.
type Settings struct {
	// Data is the directory that holds everything that must survive a restart.
	Data string

	// Kafka says how to reach the brokers.
	Kafka kafka.Config

	// Broker is the embedded broker.
	Broker Broker
	// Topics says how topics are made.
	Topics Topics
	// Processor tunes processors.
	Processor Processor
	// Calculator is the reference system of that name.
	Calculator Calculator
	// Ordering is the other one.
	Ordering Ordering
	// Auth turns authorization on.
	Auth Auth
	// Admin is the address for operators.
	Admin Admin
	// Log says what is logged and how.
	Log Log
}

// Broker configures the embedded broker.
type Broker struct {
	// Addr is where it listens, and what it tells clients: host and port, port 0 for any.
	Addr string
	// SyncWrites waits for the disk on every write.
	SyncWrites bool
}

// Topics configures topics that are made.
type Topics struct {
	// Create lets components make the topics they miss.
	Create bool
	// Partitions and Replication of new topics; replication 0 is the broker's default.
	Partitions  int32
	Replication int16
}

// Processor tunes processors: see processors.Config.
type Processor struct {
	InstanceID        string
	Guarantee         string
	OnError           string
	OnStop            string // "auto" leaves it to the service
	CommitInterval    time.Duration
	SessionTimeout    time.Duration
	HeartbeatInterval time.Duration
	RebalanceTimeout  time.Duration
	// CacheMB bounds the decoded rows held in memory, in units of 1,048,576 bytes.
	CacheMB int32
}

// Calculator configures the calculator's components.
type Calculator struct {
	// Addr is where its HTTP resources are served.
	Addr string
	// ViewURL and SubscriptionsURL are where a commander of its own process finds the others.
	ViewURL, SubscriptionsURL string
	// Wait is how long POST and PUT wait for the outcome.
	Wait time.Duration
	// URL is where other instances of the view reach this one; set, they share the partitions out.
	URL string
	// Standbys is how many further instances keep a copy of each partition then.
	Standbys int32
}

// Ordering configures ordering's two services and its page.
type Ordering struct {
	// CommandAddr, QueryAddr and PageAddr are where they listen.
	CommandAddr, QueryAddr, PageAddr string
	// CommandURL and QueryURLs are where a page server of its own process finds the services: any number of query instances.
	CommandURL string
	QueryURLs  []string
	// URL is where other instances of the query service reach this one, and Standbys how many of them keep a copy of what is
	// shared out; an empty URL shares nothing out.
	URL      string
	Standbys int32
	// AffordableFrom and AffordableTo are the prices in pounds that part the buckets, both affordable.
	AffordableFrom, AffordableTo string
	// Wait is how long DELETE waits for the decision.
	Wait time.Duration
}

// Auth configures bearer tokens (JSON Web Tokens); without a key there is no authorization.
type Auth struct {
	// KeyFile holds the key that tokens are checked with: a public key in PEM, a key set (JWKS), or a secret.
	KeyFile string
	// Issuer and Audience are what tokens must say.
	Issuer, Audience string
}

// Admin configures the operators' address.
type Admin struct {
	// Addr serves /metrics, /healthz and /readyz; empty turns it off.
	Addr string
	// Pprof adds /debug/pprof/.
	Pprof bool
}

// Log configures logging.
type Log struct {
	// Level is debug, info, warn or error.
	Level string
	// Format is text or json.
	Format string
	// Commands shows the way of each command through the components.
	Commands bool
}

// Default returns the defaults: those of `tidemill up`. Nothing listens where others than this machine's users could reach it,
// for nobody is asked who they are unless a key is given.
func Default() Settings {
	return Settings{
		Data: "tidemill-data",
		Kafka: kafka.Config{
			Brokers: []string{"127.0.0.1:9092"}, ClientID: "tidemill", DialTimeout: 5 * time.Second, RequestTimeout: 15 * time.Second,
		},
		Broker: Broker{Addr: "127.0.0.1:9092"},
		Topics: Topics{Create: true, Partitions: 4},
		Processor: Processor{
			Guarantee: string(processors.ExactlyOnce), OnError: string(processors.DeadLetter), OnStop: "auto", CommitInterval: 50 * time.Millisecond,
			SessionTimeout: 10 * time.Second, HeartbeatInterval: time.Second, RebalanceTimeout: 30 * time.Second, CacheMB: 32,
		},
		Calculator: Calculator{Addr: "127.0.0.1:3030", Wait: 2 * time.Second},
		Ordering: Ordering{
			CommandAddr: "127.0.0.1:9001", QueryAddr: "127.0.0.1:9002", PageAddr: "127.0.0.1:9000", CommandURL: "http://localhost:9001", QueryURLs: []string{"http://localhost:9002"},
			AffordableFrom: "5.00", AffordableTo: "50.00", Wait: 2 * time.Second,
		},
		Admin: Admin{Addr: "127.0.0.1:3031"},
		Log:   Log{Level: "info", Format: "text", Commands: true},
	}
}

// Group names settings that belong together: a command has the flags of the groups it uses.
type Group string

// The groups.
const (
	GroupKafka      Group = "kafka"
	GroupData       Group = "data"
	GroupBroker     Group = "broker"
	GroupTopics     Group = "topics"
	GroupProcessor  Group = "processor"
	GroupCalculator Group = "calculator"
	GroupRemote     Group = "remote"
	GroupView       Group = "calculator view"
	GroupCommand    Group = "ordering command service"
	GroupQuery      Group = "ordering query service"
	GroupPage       Group = "ordering page"
	GroupServices   Group = "ordering services"
	GroupAuth       Group = "auth"
	GroupAdmin      Group = "admin"
	GroupLog        Group = "log"
)

// setting is one of them: a pointer to its field, a bool, string, []string, int16, int32 or time.Duration.
type setting struct {
	group  Group
	key    string
	field  any
	usage  string
	secret bool   // never shown, and no flag: a command line is seen by everyone on the machine
	flag   string // where it is not the key
}

// list returns all settings, in the order in which they are shown.
func (s *Settings) list() []setting {
	return []setting{
		{group: GroupData, key: "data", field: &s.Data, usage: "`directory` of everything that must survive a restart"},

		{group: GroupKafka, key: "brokers", field: &s.Kafka.Brokers, usage: "`host:port` of brokers to begin with, comma-separated"},
		{group: GroupKafka, key: "client-id", field: &s.Kafka.ClientID, usage: "`name` of this client in the brokers' logs"},
		{group: GroupKafka, key: "dial-timeout", field: &s.Kafka.DialTimeout, usage: "bound of one attempt to connect"},
		{group: GroupKafka, key: "request-timeout", field: &s.Kafka.RequestTimeout, usage: "bound of a request with all its retries"},
		{group: GroupKafka, key: "tls.enabled", field: &s.Kafka.TLS.Enabled, usage: "encrypt connections", flag: "tls"},
		{group: GroupKafka, key: "tls.ca-file", field: &s.Kafka.TLS.CAFile, usage: "PEM `file` of the authorities to trust, in place of the system's"},
		{group: GroupKafka, key: "tls.cert-file", field: &s.Kafka.TLS.CertFile, usage: "PEM `file` of this client's certificate"},
		{group: GroupKafka, key: "tls.key-file", field: &s.Kafka.TLS.KeyFile, usage: "PEM `file` of its key"},
		{group: GroupKafka, key: "tls.server-name", field: &s.Kafka.TLS.ServerName, usage: "`name` that the brokers' certificate must be for"},
		{group: GroupKafka, key: "tls.insecure-skip-verify", field: &s.Kafka.TLS.InsecureSkipVerify, usage: "believe any certificate"},
		{group: GroupKafka, key: "sasl.mechanism", field: &s.Kafka.SASL.Mechanism, usage: "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"},
		{group: GroupKafka, key: "sasl.user", field: &s.Kafka.SASL.User, usage: "`name` to show the brokers"},
		{group: GroupKafka, key: "sasl.password", field: &s.Kafka.SASL.Password, usage: "its password", secret: true},

		{group: GroupBroker, key: "broker.addr", field: &s.Broker.Addr, usage: "`host:port` of the embedded broker; port 0 takes any"},
		{group: GroupBroker, key: "broker.sync-writes", field: &s.Broker.SyncWrites, usage: "wait for the disk on every write, against power cuts"},

		{group: GroupTopics, key: "topics.create", field: &s.Topics.Create, usage: "make the topics that are missing"},
		{group: GroupTopics, key: "topics.partitions", field: &s.Topics.Partitions, usage: "`number` of partitions of new topics"},
		{group: GroupTopics, key: "topics.replication", field: &s.Topics.Replication, usage: "`number` of replicas of new topics; 0 takes the broker's default"},

		{group: GroupProcessor, key: "processor.instance-id", field: &s.Processor.InstanceID, usage: "`id` of this instance, the same over restarts; made once and kept in the data directory if empty"},
		{group: GroupProcessor, key: "processor.guarantee", field: &s.Processor.Guarantee, usage: "exactly-once or at-least-once"},
		{group: GroupProcessor, key: "processor.on-error", field: &s.Processor.OnError, usage: "dead-letter, stop or skip: what happens to a record that cannot be processed"},
		{group: GroupProcessor, key: "processor.on-stop", field: &s.Processor.OnStop, usage: "keep, leave or auto: whether partitions wait for a stopped instance until the session time-out, or go to others at once; auto leaves where a query service is shared out, else keeps"},
		{group: GroupProcessor, key: "processor.commit-interval", field: &s.Processor.CommitInterval, usage: "how long work waits for its commit under load"},
		{group: GroupProcessor, key: "processor.session-timeout", field: &s.Processor.SessionTimeout, usage: "after how long without a sign of life partitions go to other instances"},
		{group: GroupProcessor, key: "processor.heartbeat-interval", field: &s.Processor.HeartbeatInterval, usage: "how often to give a sign of life"},
		{group: GroupProcessor, key: "processor.rebalance-timeout", field: &s.Processor.RebalanceTimeout, usage: "how long a rebalance waits for an instance"},
		{group: GroupProcessor, key: "processor.cache-mb", field: &s.Processor.CacheMB, usage: "`megabytes` of decoded rows held in memory, of each sub-topology; rows that fit into half of it are never read from the disk again"},

		{group: GroupCalculator, key: "calculator.addr", field: &s.Calculator.Addr, usage: "`host:port` of the calculator's HTTP resources"},
		{group: GroupCalculator, key: "calculator.wait", field: &s.Calculator.Wait, usage: "how long POST and PUT wait for the outcome, unless the client says"},
		{group: GroupRemote, key: "calculator.view-url", field: &s.Calculator.ViewURL, usage: "`URL` of the view, to wait until it shows a command's effect"},
		{group: GroupRemote, key: "calculator.subscriptions-url", field: &s.Calculator.SubscriptionsURL, usage: "`URL` of the subscriptions, for the outcomes of retries"},
		{group: GroupView, key: "calculator.url", field: &s.Calculator.URL, usage: "`URL` at which other instances of the view reach this one; set, they share the partitions out, else each has a full copy"},
		{group: GroupView, key: "calculator.standbys", field: &s.Calculator.Standbys, usage: "`number` of further instances that keep a copy of each partition, to take over without a restore, where the view is shared out"},

		{group: GroupCommand, key: "ordering.command-addr", field: &s.Ordering.CommandAddr, usage: "`host:port` of ordering's command service"},
		{group: GroupQuery, key: "ordering.query-addr", field: &s.Ordering.QueryAddr, usage: "`host:port` of ordering's query service"},
		{group: GroupQuery, key: "ordering.url", field: &s.Ordering.URL, usage: "`URL` where other instances of the query service reach this one, its own: the instances share the customers out, and any of them answers about all; without it each has a full copy", flag: "url"},
		{group: GroupQuery, key: "ordering.standbys", field: &s.Ordering.Standbys, usage: "`number` of further instances that keep a copy of what is shared out, to take over without a restore", flag: "standbys"},
		{group: GroupCommand, key: "ordering.wait", field: &s.Ordering.Wait, usage: "how long DELETE waits for the decision, unless the client says"},
		{group: GroupQuery, key: "ordering.affordable-from", field: &s.Ordering.AffordableFrom, usage: "lowest price in pounds that is affordable; another one is a rebuild of the query service's state"},
		{group: GroupQuery, key: "ordering.affordable-to", field: &s.Ordering.AffordableTo, usage: "highest price in pounds that is affordable; another one is a rebuild as well"},
		{group: GroupPage, key: "ordering.page-addr", field: &s.Ordering.PageAddr, usage: "`host:port` of ordering's page and the start page"},
		{group: GroupServices, key: "ordering.command-url", field: &s.Ordering.CommandURL, usage: "`URL` of the command service, for a page apart from it"},
		{group: GroupServices, key: "ordering.query-url", field: &s.Ordering.QueryURLs, usage: "`URL`s of the query service's instances, comma-separated, for a page apart from it: they take turns, and one that is away is passed over"},

		{group: GroupAuth, key: "auth.key-file", field: &s.Auth.KeyFile, usage: "`file` of the key that bearer tokens are checked with: PEM, JWKS or a secret; turns authorization on"},
		{group: GroupAuth, key: "auth.issuer", field: &s.Auth.Issuer, usage: "`name` of who must have issued the tokens"},
		{group: GroupAuth, key: "auth.audience", field: &s.Auth.Audience, usage: "`name` of who the tokens must be for"},

		{group: GroupAdmin, key: "admin.addr", field: &s.Admin.Addr, usage: "`host:port` of /metrics, /healthz and /readyz; empty for none"},
		{group: GroupAdmin, key: "admin.pprof", field: &s.Admin.Pprof, usage: "serve /debug/pprof/ on the admin address", flag: "pprof"},

		{group: GroupLog, key: "log.level", field: &s.Log.Level, usage: "debug, info, warn or error"},
		{group: GroupLog, key: "log.format", field: &s.Log.Format, usage: "text or json"},
		{group: GroupLog, key: "log.commands", field: &s.Log.Commands, usage: "show the way of each command through the components"},
	}
}

// EnvPrefix begins the names of the environment variables.
const EnvPrefix = "TIDEMILL_"

// env returns the name of the setting's environment variable.
func (s setting) env() string { return envName(s.key) }

// envName returns the environment variable of a key or a flag.
func envName(key string) string {
	return EnvPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// flagName returns the name of the setting's flag.
func (s setting) flagName() string {
	return cmp.Or(s.flag, strings.ReplaceAll(s.key, ".", "-"))
}
