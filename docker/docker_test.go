// Package docker_test checks what can be checked of the images without an engine: that the files belong together, and that
// every setting they use exists.
package docker_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tidemill/tidemill/internal/settings"
)

// compose is what these tests look at in docker-compose.yml.
type compose struct {
	Services map[string]service   `yaml:"services"`
	Volumes  map[string]yaml.Node `yaml:"volumes"`
}

type service struct {
	Image       string               `yaml:"image"`
	Build       *build               `yaml:"build"`
	Command     []string             `yaml:"command"`
	Environment map[string]string    `yaml:"environment"`
	DependsOn   map[string]yaml.Node `yaml:"depends_on"`
	Volumes     []string             `yaml:"volumes"`
	Healthcheck *yaml.Node           `yaml:"healthcheck"`
	Profiles    []string             `yaml:"profiles"`
	Networks    map[string]struct {
		Aliases []string `yaml:"aliases"`
	} `yaml:"networks"`
	Deploy struct {
		Replicas int `yaml:"replicas"`
	} `yaml:"deploy"`
}

type build struct {
	Context    string `yaml:"context"`
	Dockerfile string `yaml:"dockerfile"`
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func load(t *testing.T) compose {
	t.Helper()
	var c compose
	if err := yaml.Unmarshal([]byte(read(t, "docker-compose.yml")), &c); err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	return c
}

func TestComposeBelongsTogether(t *testing.T) {
	c := load(t)
	for name, s := range c.Services {
		if s.Image == "" || strings.HasSuffix(s.Image, ":latest") || !strings.Contains(s.Image, ":") {
			t.Errorf("%s: image %q; name a version", name, s.Image)
		}
		if s.Build != nil {
			read(t, s.Build.Dockerfile)
		} else if s.Healthcheck == nil && len(s.Profiles) == 0 {
			t.Errorf("%s has no health check", name)
		}
		for other := range s.DependsOn {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is no service", name, other)
			}
		}
		for _, volume := range s.Volumes {
			source, target, mounted := strings.Cut(volume, ":")
			switch {
			case !mounted && s.Build != nil && source != "/var/lib/tidemill":
				t.Errorf("%s: volume %s is not the image's data directory", name, source)
			case mounted && strings.HasPrefix(source, "./"):
				read(t, source)
			case mounted && c.Volumes[source].Kind == 0 && !slices.Contains(slices.Collect(maps.Keys(c.Volumes)), source):
				t.Errorf("%s: volume %s for %s is not declared", name, source, target)
			}
		}
	}
}

func TestComponents(t *testing.T) {
	c := load(t)
	known := settings.Default().YAML()
	for _, name := range []string{"commander", "processor", "view", "subscriptions"} {
		s, ok := c.Services[name]
		if !ok || s.Build == nil || !slices.Equal(s.Command, []string{"calculator", name}) {
			t.Errorf("service %s runs %q of our image: %v; want calculator %s", name, s.Command, s.Build != nil, name)
		}
		t.Run(name, func(t *testing.T) {
			for variable, value := range s.Environment {
				if !strings.Contains(known, "; "+variable+"\n") {
					t.Errorf("there is no setting %s", variable)
				}
				t.Setenv(variable, value)
			}
			if _, err := settings.Load(nil, settings.Default()); err != nil {
				t.Errorf("its environment is refused: %v", err)
			}
			if _, set := s.Environment["TIDEMILL_PROCESSOR_INSTANCE_ID"]; set {
				t.Error("an instance id for all replicas: they would fence each other")
			}
		})
	}
	for _, name := range []string{"processor", "view"} {
		if c.Services[name].Deploy.Replicas < 2 {
			t.Errorf("%s has %d replicas; want it scaled apart", name, c.Services[name].Deploy.Replicas)
		}
	}
}

// TestAddresses compares the ports that the gateway and Prometheus use with those that the components listen on.
func TestAddresses(t *testing.T) {
	c := load(t)
	upstreams := regexp.MustCompile(`server ([a-z]+):(\d+);`).FindAllStringSubmatch(read(t, "docker/nginx.conf"), -1)
	if len(upstreams) != 4 {
		t.Errorf("the gateway knows %d components, want 4", len(upstreams))
	}
	for _, upstream := range upstreams {
		if got := c.Services[upstream[1]].Environment["TIDEMILL_CALCULATOR_ADDR"]; got != ":"+upstream[2] {
			t.Errorf("the gateway asks %s at port %s, it listens on %q", upstream[1], upstream[2], got)
		}
	}
	for variable, value := range c.Services["commander"].Environment {
		if name, port, ok := strings.Cut(strings.TrimPrefix(value, "http://"), ":"); ok && strings.HasSuffix(variable, "_URL") {
			if got := c.Services[name].Environment["TIDEMILL_CALCULATOR_ADDR"]; got != ":"+port {
				t.Errorf("%s is %s; %s listens on %q", variable, value, name, got)
			}
		}
	}
	var prometheus struct {
		Jobs []struct {
			Discovery []struct {
				Names []string `yaml:"names"`
				Port  int      `yaml:"port"`
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "docker/prometheus.yml")), &prometheus); err != nil {
		t.Fatalf("prometheus.yml: %v", err)
	}
	for _, name := range prometheus.Jobs[0].Discovery[0].Names {
		if got := c.Services[name].Environment["TIDEMILL_ADMIN_ADDR"]; got != ":3031" || prometheus.Jobs[0].Discovery[0].Port != 3031 {
			t.Errorf("Prometheus asks %s, which has its metrics on %q", name, got)
		}
	}
}

// TestPageAsksAnyQueryService: the page's address of the query service is a name of all of its instances.
func TestPageAsksAnyQueryService(t *testing.T) {
	c := load(t)
	command := c.Services["ordering-page"].Command
	asked := regexp.MustCompile(`^http://([a-z-]+):9002$`).FindStringSubmatch(command[len(command)-1])
	if asked == nil {
		t.Fatalf("the page is run by %q", command)
	}
	for _, name := range []string{"ordering-query", "ordering-query-2"} {
		if !slices.Contains(c.Services[name].Networks["default"].Aliases, asked[1]) {
			t.Errorf("%s is not reached as %s", name, asked[1])
		}
	}
}

func TestDockerfile(t *testing.T) {
	text := read(t, "docker/Dockerfile")
	// What listens on loopback outside a container does so for nobody in it.
	for _, listens := range regexp.MustCompile(`"127\.0\.0\.1(:\d+)"  # .*; (TIDEMILL_[A-Z_]+_ADDR)`).FindAllStringSubmatch(settings.Default().YAML(), -1) {
		if listens[2] != "TIDEMILL_BROKER_ADDR" && !strings.Contains(text, listens[2]+"="+listens[1]) {
			t.Errorf("%s is not set to %s", listens[2], listens[1])
		}
	}
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if language == nil || !strings.Contains(text, "FROM golang:"+language[1]+"-") {
		t.Errorf("the image is not built with the Go of go.mod, %q", language)
	}
	last := text[strings.LastIndex(text, "\nFROM "):]
	if !regexp.MustCompile(`(?m)^USER [1-9]\d*:[1-9]\d*$`).MatchString(last) {
		t.Error("the image's user is not set by a number other than 0")
	}
	known := settings.Default().YAML()
	for _, variable := range regexp.MustCompile(`TIDEMILL_[A-Z_]+`).FindAllString(text, -1) {
		if !strings.Contains(known, "; "+variable+"\n") {
			t.Errorf("there is no setting %s", variable)
		}
	}
}
