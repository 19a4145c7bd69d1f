// Package broker runs the embedded broker: one Kafka node inside this process,
// or inside a child process that stops cleanly by itself when its parent dies.
//
// The node is franz-go's kfake with a data directory. It speaks the protocol of
// Kafka 4.3: transactions (KIP-98, KIP-890), consumer groups with static
// membership, compaction, SASL and TLS, so that stock Kafka tools can be used
// on its port. It is one node: it claims no replication.
//
// A kill -9 of the process that runs the node loses nothing that was
// acknowledged, and transactions stay whole: what a kill leaves half done is
// finished or undone at the next start (see recoverDir). A power cut is another
// matter: see Options.SyncWrites. The child process (see Spawn) does not even
// need that: when its parent dies it finishes what it is doing and closes.
//
// Compacted topics are not compacted: kfake's compaction rewrites a partition in
// place, without regard to open transactions, and moves its beginning. Records
// are deleted only where a topic's own retention.ms or retention.bytes says so.
//
// Errors to test for with errors.Is: ErrLocked, ErrAddress, ErrKilled, ErrWrite.
package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

var (
	// ErrLocked is returned where another process has the data directory.
	ErrLocked = errors.New("data directory is in use")
	// ErrWrite is returned where the data directory cannot be written to, as when
	// its disk is full.
	ErrWrite = errors.New("the embedded broker cannot write to its data directory")
	// ErrKilled is returned where the child process was killed before its broker
	// was ready: it can be started again.
	ErrKilled = errors.New("the process was killed before its broker was ready")
	// ErrAddress is returned where the broker cannot listen where it was told to.
	ErrAddress = errors.New("cannot listen")
)

// Options configures the embedded broker. The zero value is a broker in memory
// on a free loopback port.
type Options struct {
	// Dir is the data directory, created if missing. Empty keeps everything in
	// memory.
	Dir string `json:"dir,omitempty"`
	// Addr is the host and port to listen on and to name to clients, such as
	// "127.0.0.1:9092". The host must be one that clients can reach, so not
	// 0.0.0.0; port 0, and an empty Addr, take any free loopback port.
	Addr string `json:"addr,omitempty"`
	// Partitions is the number of partitions of a topic created without one; 0
	// means 1.
	Partitions int `json:"partitions,omitempty"`
	// AutoCreateTopics lets a client's metadata request create a topic.
	AutoCreateTopics bool `json:"auto_create_topics,omitempty"`
	// SyncWrites waits for the disk on every write, so that even a power cut
	// loses nothing that was acknowledged. Without it the operating system
	// writes when it likes, as on a stock Kafka.
	SyncWrites bool `json:"sync_writes,omitempty"`
	// TLS, where not nil, is what the listener shows and asks for.
	TLS *TLS `json:"tls,omitempty"`
	// Users, where not empty, are the only ones let in, by SASL. They may do
	// everything.
	Users []User `json:"users,omitempty"`
	// Config holds settings of the broker by Kafka's names, such as
	// "transaction.max.timeout.ms".
	Config map[string]string `json:"config,omitempty"`
	// Logger, where not nil, receives the broker's warnings and errors.
	Logger *slog.Logger `json:"-"`
}

// TLS names the files of the listener, all in PEM.
type TLS struct {
	// CertFile and KeyFile are the broker's certificate chain and key.
	CertFile string `json:"cert_file"`
	KeyFile  string `json:"key_file"`
	// ClientCAFile, where not empty, makes the broker ask every client for a
	// certificate signed by one of these.
	ClientCAFile string `json:"client_ca_file,omitempty"`
}

// User is someone who may connect.
type User struct {
	// Mechanism is "PLAIN", "SCRAM-SHA-256" or "SCRAM-SHA-512".
	Mechanism string `json:"mechanism"`
	// Name and Password are what the client must show.
	Name     string `json:"name"`
	Password string `json:"password"`
}

// Broker is a running embedded broker. Its methods are safe for concurrent use.
type Broker struct {
	cluster *kfake.Cluster
	logger  *logger
	addr    string
	dir     string // empty if in memory
	lock    *dirLock
	journal *journal
	stop    chan struct{} // closed by Close
	keeper  sync.WaitGroup
	once    sync.Once
	err     error
}

// Start runs a broker in this process until Close. On a directory that another
// process has it returns ErrLocked; where the address cannot be had, ErrAddress.
// The context bounds nothing after Start has returned.
func Start(ctx context.Context, o Options) (*Broker, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("starting the embedded broker: %w", err)
	}
	host, port, err := splitAddr(o.Addr)
	if err != nil {
		return nil, err
	}
	listener, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	b := &Broker{dir: o.Dir, stop: make(chan struct{}), logger: newLogger(o.Logger)}
	if err := b.openDir(o); err != nil {
		return nil, err
	}
	gate := make(chan struct{})
	listen := func(network, _ string) (net.Listener, error) {
		l, err := net.Listen(network, net.JoinHostPort(host, strconv.Itoa(port)))
		return &gatedListener{l, gate, b.stop}, err
	}
	b.cluster, err = kfake.NewCluster(append(o.kfake(listener), kfake.Ports(port), kfake.ListenFn(listen), kfake.WithLogger(b.logger))...)
	if err != nil {
		close(b.stop)
		b.closeDir()
		if _, ok := errors.AsType[*net.OpError](err); ok {
			return nil, fmt.Errorf("%w on %s: %w (choose another address with --broker-addr, or stop what listens there)", ErrAddress, o.Addr, err)
		}
		return nil, fmt.Errorf("starting the embedded broker on %q: %w", o.Dir, err)
	}
	if o.Dir != "" {
		b.journal.watch(b.cluster)
		if err := dropOpenSnapshots(o.Dir); err != nil {
			b.Close()
			return nil, err
		}
	}
	mend(b.cluster)
	b.keeper.Go(b.keepRetention)
	b.addr = b.cluster.ListenAddrs()[0]
	b.lock.describe(b.addr)
	if err := b.logger.serve(true); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the embedded broker: %w", err), b.Close())
	}
	close(gate)
	return b, nil
}

// gatedListener accepts nobody until the gate is open: the journal must see every
// request.
type gatedListener struct {
	net.Listener
	gate, stop <-chan struct{}
}

func (l *gatedListener) Accept() (net.Conn, error) {
	select {
	case <-l.gate:
		return l.Listener.Accept()
	case <-l.stop:
		return nil, net.ErrClosed
	}
}

// openDir takes the data directory and makes it whole.
func (b *Broker) openDir(o Options) (err error) {
	if o.Dir == "" {
		return nil
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return fmt.Errorf("creating the data directory: %w", err)
	}
	if b.lock, err = lockDir(o.Dir); err != nil {
		return err
	}
	if err = prepareDir(o.Dir, o.Logger); err == nil {
		b.journal, err = openJournal(o.Dir, func(err error) {
			b.logger.unwritten(fmt.Errorf("%w: %w", ErrWrite, err)) // the transaction would not survive a kill
		})
	}
	if err != nil {
		b.closeDir()
	}
	return err
}

func (b *Broker) closeDir() error { return errors.Join(b.journal.close(), b.lock.unlock()) }

// Addr is the host and port the broker listens on.
func (b *Broker) Addr() string { return b.addr }

// Cluster is the node itself, for tests that inject faults.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Failed is closed when the broker cannot write any more. It answers nothing from
// then on; Close tells why, and what goes on running of it ends with the process.
func (b *Broker) Failed() <-chan struct{} { return b.logger.failed }

// Close lets the request in hand finish, writes everything to disk and gives
// the directory back. After a write that failed it only gives the directory back,
// as after a kill, and returns an error that wraps ErrWrite. It may be called more
// than once.
func (b *Broker) Close() error {
	b.once.Do(func() {
		close(b.stop)
		if err := b.logger.serve(false); err != nil {
			b.err = errors.Join(err, b.closeDir())
			return
		}
		b.keeper.Wait()
		b.cluster.Close()
		if b.dir != "" {
			if b.err = b.logger.saveError(); b.err == nil {
				b.err = markClean(b.dir)
			}
		}
		b.err = errors.Join(b.err, b.closeDir())
	})
	return b.err
}

func splitAddr(addr string) (host string, port int, err error) {
	if addr == "" {
		return "127.0.0.1", 0, nil
	}
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("%w on %q: %w (want host:port)", ErrAddress, addr, err)
	}
	if port, err = strconv.Atoi(p); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%w on %q: the port must be a number from 0 to 65535", ErrAddress, addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "", 0, fmt.Errorf("%w on %q: the broker tells its clients this address, so name a host they can reach, such as 127.0.0.1", ErrAddress, addr)
	}
	return host, port, nil
}

func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("loading the broker's certificate: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if t.ClientCAFile != "" {
		pem, err := os.ReadFile(t.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("loading the clients' certificate authority: %w", err)
		}
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", t.ClientCAFile)
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

func (o Options) kfake(listener *tls.Config) []kfake.Opt {
	partitions := o.Partitions
	if partitions <= 0 {
		partitions = 1
	}
	opts := []kfake.Opt{
		kfake.ClusterID("tidemill-embedded"),
		kfake.DefaultNumPartitions(partitions),
		kfake.MaxVersions(offered()),
		kfake.GroupMinSessionTimeout(time.Second),
	}
	if o.Dir != "" {
		opts = append(opts, kfake.DataDir(o.Dir))
	}
	if o.SyncWrites {
		opts = append(opts, kfake.SyncWrites())
	}
	if o.AutoCreateTopics {
		opts = append(opts, kfake.AllowAutoTopicCreation())
	}
	if listener != nil {
		opts = append(opts, kfake.TLS(listener))
	}
	if len(o.Users) > 0 {
		opts = append(opts, kfake.EnableSASL())
		for _, u := range o.Users {
			opts = append(opts, kfake.Superuser(u.Mechanism, u.Name, u.Password))
		}
	}
	config := maps.Clone(defaults)
	maps.Copy(config, o.Config)
	return append(opts, kfake.BrokerConfigs(config))
}

// defaults keep everything: a data directory may lie idle for years, and a log
// that is the source of truth must then still know its groups and producers.
var defaults = map[string]string{
	"log.cleaner.backoff.ms":         "1000000000000", // no compaction: see the package's comment
	"log.retention.ms":               "-1",
	"offsets.retention.minutes":      "52560000", // 100 years; kfake counts in nanoseconds, and what is beyond 292 years was over at once
	"transactional.id.expiration.ms": "2147483647",
}

// offered is what the broker says it can do: Kafka 4.3's requests, less the one
// whose answer the Java admin client cannot read. Without DescribeTopicPartitions
// that client asks for metadata instead.
func offered() *kversion.Versions {
	v := kversion.V4_3_0()
	v.SetMaxKeyVersion(kmsg.DescribeTopicPartitions.Int16(), -1)
	v.SetMaxKeyVersion(kmsg.CreateTopics.Int16(), 4)    // from 5 on it answers settings that Java refuses
	v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 5) // the journal knows topics by name
	return v
}
