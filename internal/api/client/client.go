// Package client asks a `redoubt serve` for recoveries.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"redoubt/internal/api"
	"redoubt/internal/finding"
)

const (
	maxAnswer = 64 << 20
	patience  = 2 * time.Minute // for one answer
)

// Client asks one server.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// StatusError is a server's refusal or failure.
type StatusError struct {
	Status  int
	Message string
}

func (e *StatusError) Error() string { return e.Message }

// Temporary reports whether the server itself is at fault, or not there.
func Temporary(err error) bool {
	var s *StatusError
	return !errors.As(err, &s) || s.Status >= http.StatusInternalServerError
}

// New makes a client of the server at an address such as https://host:8480.
// caFile has certificates that are trusted, besides the system's; it may be empty, as may the token.
func New(address, token, caFile string) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" {
		return nil, fmt.Errorf("%q is no address of a server: write http://127.0.0.1:8480, or https://", address)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: 10 * time.Second}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate: want PEM, -----BEGIN CERTIFICATE-----", caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &Client{base: u, token: token, http: &http.Client{Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// Recover asks for a recovery.
func (c *Client) Recover(ctx context.Context, r api.RecoverRequest) (out api.Recovering, err error) {
	q := url.Values{}
	set := func(key, value string, given bool) {
		if given {
			q.Set(key, value)
		}
	}
	set("from_lsn", r.From.String(), r.From != 0)
	set("to_lsn", r.To.String(), r.To != 0)
	set("target", r.Target, r.Target != "")
	set("to_time", r.ToTime.Format(time.RFC3339Nano), !r.ToTime.IsZero())
	return out, c.ask(ctx, http.MethodPost, timelinePath(r.Tenant, r.Timeline)+"/recover", q, &out)
}

// RecoverAll asks for recoveries of all timelines of a tenant.
func (c *Client) RecoverAll(ctx context.Context, tenant string, toTime time.Time) (out []api.RecoveringOne, err error) {
	q := url.Values{}
	if !toTime.IsZero() {
		q.Set("to_time", toTime.Format(time.RFC3339Nano))
	}
	return out, c.ask(ctx, http.MethodPost, "/v1/tenant/"+url.PathEscape(tenant)+"/recover", q, &out)
}

// Timeline is what the server knows of a timeline.
func (c *Client) Timeline(ctx context.Context, tenant, timeline string) (out finding.TimelineStatus, err error) {
	return out, c.ask(ctx, http.MethodGet, timelinePath(tenant, timeline), nil, &out)
}

func timelinePath(tenant, timeline string) string {
	return "/v1/tenant/" + url.PathEscape(tenant) + "/timeline/" + url.PathEscape(timeline)
}

func (c *Client) ask(ctx context.Context, method, path string, q url.Values, out any) (err error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base.String()+path+"?"+q.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.base.Host, err)
	}
	if resp.StatusCode/100 != 2 {
		return &StatusError{resp.StatusCode, fmt.Sprintf("%s answers %s: %s", c.base.Host, resp.Status, reason(data))}
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("read the answer of %s: %w: is it a redoubt serve?", c.base.Host, err)
	}
	return nil
}

// reason is what an error's body says.
func reason(data []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(data, &e) == nil && e.Error != "" {
		return e.Error
	}
	return "no reason is given: is it a redoubt serve?"
}
