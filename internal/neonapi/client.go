package neonapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Bounds on an answer: maxAnswer bytes, of an error that is told maxMessage.
const (
	maxAnswer  = 256 << 20
	maxMessage = 300
)

// Options say how servers are asked.
type Options struct {
	// Token yields the bearer token; nil or an empty one is none. It is asked for
	// each request, so that it may change, and never part of an error.
	Token    func() (string, error)
	Timeout  time.Duration // of one request; 0: 10 s
	Attempts int           // in all, of a request that may succeed later; 0: 3
	Wait     time.Duration // before the second attempt, then doubled; 0: 500 ms
}

// client asks one server.
type client struct {
	kind, url string
	opt       Options
	http      *http.Client
	most      int64 // bytes of an answer
}

// Close lets go of connections.
func (c *client) Close() { c.http.CloseIdleConnections() }

// Name says which server it is: its kind and address.
func (c *client) Name() string { return c.kind + " " + c.url }

func newClient(kind, address string, opt Options) (client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return client{}, fmt.Errorf("the address of a %s is no URL such as http://host:9898, without user and parameters", kind)
	}
	if opt.Timeout <= 0 {
		opt.Timeout = 10 * time.Second
	}
	if opt.Attempts <= 0 {
		opt.Attempts = 3
	}
	if opt.Wait <= 0 {
		opt.Wait = 500 * time.Millisecond
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	return client{kind: kind, most: maxAnswer, url: strings.TrimSuffix(address, "/"), opt: opt, http: &http.Client{
		Transport: transport, Timeout: opt.Timeout,
		// A token must not be carried to where a server points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Error is what a request ended with.
type Error struct {
	Server string
	Path   string
	Status int    // of HTTP; 0 if there was no answer
	Detail string // the server's words, or what was wrong
	Err    error
}

func (e *Error) Error() string {
	switch {
	case e.Status != 0 && e.Detail != "":
		return fmt.Sprintf("ask %s for %s: status %d: %s", e.Server, e.Path, e.Status, e.Detail)
	case e.Status != 0:
		return fmt.Sprintf("ask %s for %s: status %d", e.Server, e.Path, e.Status)
	}
	return fmt.Sprintf("ask %s for %s: %v", e.Server, e.Path, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Denied reports whether the server refuses the token, or its absence.
func (e *Error) Denied() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
}

// Transient reports whether a later attempt may succeed.
func (e *Error) Transient() bool {
	var bad *BadAnswerError
	switch {
	case errors.As(e.Err, &bad), errors.Is(e.Err, context.Canceled), errors.Is(e.Err, errToken):
		return false
	case e.Status == 0:
		return true
	}
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout || e.Status == http.StatusConflict
}

// notFound reports whether the server answered that there is no such thing.
func notFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// BadAnswerError is an answer that is not what was published.
type BadAnswerError struct{ Reason string }

func (e *BadAnswerError) Error() string { return "the answer is not understood: " + e.Reason }

func badAnswer(format string, args ...any) error {
	return &BadAnswerError{fmt.Sprintf(format, args...)}
}

var errToken = errors.New("no token")

// get asks for path and hands the answer to read. It is asked again if that may
// help, so read starts anew each time.
func (c *client) get(ctx context.Context, path string, read func(*json.Decoder) error) error {
	wait := c.opt.Wait
	for n := 1; ; n++ {
		err := c.getOnce(ctx, path, read)
		var e *Error
		if err == nil || ctx.Err() != nil || n == c.opt.Attempts || !errors.As(err, &e) || !e.Transient() {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
		wait *= 2
	}
}

func (c *client) getOnce(ctx context.Context, path string, read func(*json.Decoder) error) (err error) {
	fail := func(err error) error { return &Error{Server: c.Name(), Path: path, Err: err} }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, http.NoBody)
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Accept", "application/json")
	if c.opt.Token != nil {
		token, err := c.opt.Token()
		if err != nil {
			return fail(fmt.Errorf("%w: %w", errToken, err))
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fail(withoutURL(err))
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	body := &bounded{r: resp.Body, left: c.most}
	if resp.StatusCode != http.StatusOK {
		return &Error{Server: c.Name(), Path: path, Status: resp.StatusCode, Detail: message(body)}
	}
	dec := json.NewDecoder(body)
	if err := read(dec); err != nil {
		return fail(c.wrong(body, err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return fail(c.wrong(body, badAnswer("something follows its end")))
	}
	return nil
}

// withoutURL takes the address, which the Error names, out of an error of net/http.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// wrong tells an answer that broke off from one that is nonsense.
func (c *client) wrong(body *bounded, err error) error {
	var bad *BadAnswerError
	switch {
	case body.err != nil && body.err != io.EOF:
		return body.err
	case errors.As(err, &bad):
		return err
	}
	return badAnswer("%v", err)
}

// message is what a server says of an error, {"msg": "…"}, for people to read.
func message(body io.Reader) string {
	data, err := io.ReadAll(io.LimitReader(body, 64<<10))
	if err != nil {
		return ""
	}
	var said struct {
		Msg string `json:"msg"`
	}
	if json.Unmarshal(data, &said) != nil || said.Msg == "" {
		said.Msg = string(data)
	}
	if len(said.Msg) > maxMessage {
		said.Msg = said.Msg[:maxMessage] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(said.Msg, "?"))
}

// bounded ends a body that is too long with an error, and remembers how it ended.
type bounded struct {
	r    io.Reader
	left int64
	err  error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		n, err = 0, badAnswer("it is too long")
	}
	b.err = err
	return n, err
}
