// Package pages holds the pages of the reference systems: small single-page applications, built from web/ by `make pages`
// into dist/, which is committed and embedded. They use nothing but the systems' HTTP resources, from the same origin.
//
// Their Content-Security-Policy lets nothing in but the origin's own files and answers: no inline script or style, no frame,
// no form that sends, no other host.
package pages

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// Page names a page.
type Page string

// The pages.
const (
	// Start links the systems.
	Start Page = "start"
	// Calculator is the calculator's: it asks for /values, /commands and /outcomes.
	Calculator Page = "calculator"
	// OrderingPage is ordering's: it asks for /orders, /customers, /commands and /services.json; see [Ordering].
	OrderingPage Page = "ordering"
)

// System is a reference system that pages link to.
type System struct {
	// Name is what it is called: calculator, ordering.
	Name string
	// Addr is the host:port that it listens on. Where the host is that of every interface, or none, the page takes the one
	// that it was asked under.
	Addr string
	// Path is that of its page, such as "/".
	Path string
}

//go:embed dist
var dist embed.FS

// policy is the Content-Security-Policy of every page.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Mount serves a page at a path, its files at /assets/ and the systems that it links to at /systems.json. Several pages
// mounted on one mux share the last two: Files, once.
func Mount(mux *http.ServeMux, page Page, at string) error {
	html, err := file("text/html; charset=utf-8", string(page)+".html")
	if err != nil {
		return err
	}
	if strings.HasSuffix(at, "/") {
		at += "{$}"
	}
	mux.Handle("GET "+at, html)
	return nil
}

// Files serves what all pages need: their scripts, style sheets and icon at /assets/, and /systems.json.
func Files(mux *http.ServeMux, systems ...System) error {
	entries, err := fs.ReadDir(dist, "dist/assets")
	if err != nil {
		return fmt.Errorf("the files of the pages: %w", err)
	}
	for _, entry := range entries {
		handler, err := file(mime.TypeByExtension(path.Ext(entry.Name())), "assets/"+entry.Name())
		if err != nil {
			return err
		}
		mux.Handle("GET /assets/"+entry.Name(), handler)
	}
	mux.HandleFunc("GET /systems.json", func(w http.ResponseWriter, r *http.Request) { serveSystems(w, r, systems) })
	return nil
}

// file returns a handler for one embedded file. Browsers ask each time whether it has changed, which costs no transfer:
// a page never runs with another version's files.
func file(contentType, name string) (http.Handler, error) {
	content, err := fs.ReadFile(dist, "dist/"+name)
	if err != nil {
		return nil, fmt.Errorf("a file of the pages: %w", err)
	}
	sum := sha256.Sum256(content)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		harden(header)
		header.Set("Cache-Control", "no-cache")
		header.Set("ETag", etag)
		if strings.Contains(r.Header.Get("If-None-Match"), etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		header.Set("Content-Type", contentType)
		header.Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content) // the client is gone when this fails
	}), nil
}

func harden(header http.Header) {
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// serveSystems answers {"systems":[{"name":"calculator","url":"//localhost:3030/"}]}. The scheme is the page's own.
func serveSystems(w http.ResponseWriter, r *http.Request, systems []System) {
	type link struct {
		Name string `json:"name"`
		URL  string `json:"url"`
	}
	links := make([]link, 0, len(systems))
	for _, system := range systems {
		links = append(links, link{system.Name, "//" + visible(system.Addr, r.Host) + system.Path})
	}
	answer(w, struct {
		Systems []link `json:"systems"`
	}{links})
}

// answer answers with what is so now. It has no values but texts.
func answer(w http.ResponseWriter, now any) {
	body, err := json.Marshal(now)
	if err != nil {
		body = []byte("{}") // there is no text that JSON cannot hold
	}
	harden(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body) // the client is gone when this fails
}

// visible returns an address as a browser reaches it that came to the host asked.
func visible(addr, asked string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if name, _, err := net.SplitHostPort(asked); err == nil {
		asked = name
	}
	ip := net.ParseIP(host)
	if here := ip.Equal(net.IPv4(127, 0, 0, 1)) && asked == "localhost"; !here && host != "" && (ip == nil || !ip.IsUnspecified()) {
		return addr
	}
	return net.JoinHostPort(strings.Trim(asked, "[]"), port)
}
