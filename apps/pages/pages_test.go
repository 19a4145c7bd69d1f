package pages_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/apps/pages"
)

// TestBuiltFromTheseSources needs no node: the output says of which sources it was made.
func TestBuiltFromTheseSources(t *testing.T) {
	var sources []string
	err := filepath.WalkDir("web", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "node_modules":
			return filepath.SkipDir
		case !entry.IsDir():
			sources = append(sources, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(sources)
	hash := sha256.New()
	for _, path := range sources {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		hash.Write([]byte(strings.TrimPrefix(filepath.ToSlash(path), "web/") + "\x00"))
		hash.Write(content)
		hash.Write([]byte{0})
	}
	said, err := os.ReadFile(filepath.Join("dist", "sources.sha256"))
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != strings.TrimSpace(string(said)) {
		t.Errorf("dist/ was made of other sources than those in web/: run 'make pages' and commit what it changes")
	}
}

// TestBuildsTheSame builds the pages anew and compares. It needs node and npm, and the packages of the lock file.
func TestBuildsTheSame(t *testing.T) {
	ci := os.Getenv("CI") == "true"
	_, errNode := exec.LookPath("node")
	_, errModules := os.Stat(filepath.Join("web", "node_modules", "esbuild"))
	if errModules != nil && ci && errNode == nil {
		install := exec.CommandContext(t.Context(), "npm", "ci")
		install.Dir = "web"
		out, err := install.CombinedOutput()
		if err != nil {
			t.Fatalf("installing the build tools of the pages: %v\n%s", err, out)
		}
		errModules = nil
	}
	if errNode != nil || errModules != nil {
		if ci {
			t.Fatal("node is missing: .ci/run installs it")
		}
		t.Skip("skipped: without node and web/node_modules nothing can be built here; 'make pages' fetches the latter")
	}
	check := exec.CommandContext(t.Context(), "node", "node_modules/typescript/bin/tsc", "--noEmit")
	check.Dir = "web"
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("the types do not fit: %v\n%s", err, out)
	}
	made := filepath.Join(t.TempDir(), "dist")
	build := exec.CommandContext(t.Context(), "node", "build.mjs", made)
	build.Dir = "web"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the pages: %v\n%s", err, out)
	}
	want, got := read(t, made), read(t, "dist")
	for name := range want {
		if want[name] != got[name] {
			t.Errorf("dist/%s is not what web/ builds: run 'make pages' and commit what it changes", name)
		}
	}
	if len(want) != len(got) {
		t.Errorf("dist/ has %d files, and web/ builds %d", len(got), len(want))
	}
}

// read returns the files of a directory by their path in it.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestLockFileNamesNoHost(t *testing.T) {
	lock, err := os.ReadFile(filepath.Join("web", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(lock), `"resolved"`) {
		t.Error("package-lock.json says from where packages came: make it with omit-lockfile-registry-resolved, as .npmrc has it")
	}
}

func TestServed(t *testing.T) {
	mux := http.NewServeMux()
	for page, at := range map[pages.Page]string{pages.Calculator: "/", pages.Start: "/start"} {
		if err := pages.Mount(mux, page, at); err != nil {
			t.Fatal(err)
		}
	}
	err := pages.Files(mux, pages.System{Name: "calculator", Addr: "[::]:3030", Path: "/"}, pages.System{Name: "other", Addr: "10.0.0.7:80", Path: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, etag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = "[::1]:9000"
		r.Header.Set("If-None-Match", etag)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	for path, kind := range map[string]string{
		"/": "text/html", "/start": "text/html", "/assets/calculator.js": "text/javascript", "/assets/calculator.css": "text/css", "/assets/icon.svg": "image/svg+xml",
	} {
		w := get(path, "")
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) || w.Body.Len() == 0 {
			t.Errorf("%s: %d, %s, %d bytes", path, w.Code, w.Header().Get("Content-Type"), w.Body.Len())
		}
		csp := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: the policy is %q", path, csp)
		}
		if again := get(path, w.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%s again: %d", path, again.Code)
		}
	}
	if w := get("/nowhere", ""); w.Code != http.StatusNotFound {
		t.Errorf("/nowhere: %d", w.Code)
	}
	want := `{"systems":[{"name":"calculator","url":"//[::1]:3030/"},{"name":"other","url":"//10.0.0.7:80/x"}]}`
	if got := get("/systems.json", "").Body.String(); got != want {
		t.Errorf("/systems.json is %s, want %s", got, want)
	}
}
