package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

const (
	internalError = "internal error: the server's log has the cause"
	jsonType      = "application/json; charset=utf-8"
)

// send writes v as JSON.
func send(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil { // only values of this package get here
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"error": "` + internalError + "\"}\n")
	}
	write(w, status, jsonType, b.Bytes())
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // who asked is gone: there is nobody to tell
}

// fail writes an error.
func fail(w http.ResponseWriter, status int, message string) {
	send(w, status, map[string]string{"error": message})
}

// failWith answers an error as JSON.
func (s *Server) failWith(w http.ResponseWriter, r *http.Request, err error) {
	status, message := s.judge(r, err)
	fail(w, status, message)
}

// judge chooses status and message by the error. What is no error of this
// package is logged, not told: it may name files and addresses.
func (s *Server) judge(r *http.Request, err error) (status int, message string) {
	var wrong *badRequest
	var refused *RefusedError
	var conflict *ConflictError
	switch {
	case errors.As(err, &wrong):
		return wrong.status, wrong.message
	case errors.As(err, &refused):
		return http.StatusUnprocessableEntity, refused.Reason
	case errors.As(err, &conflict):
		return http.StatusConflict, conflict.Reason
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound, "not found"
	case errors.Is(err, ErrRunning):
		return http.StatusConflict, ErrRunning.Error()
	case r.Context().Err() != nil:
		return http.StatusServiceUnavailable, "the request was given up"
	}
	s.Log.Error("answer request", "path", r.URL.Path, "err", err)
	return http.StatusInternalServerError, internalError
}

// badRequest is an error of whoever asks.
type badRequest struct {
	status  int
	message string
}

func (e *badRequest) Error() string { return e.message }

func bad(message string) error { return &badRequest{http.StatusBadRequest, message} }

// shaped gives the answers of the mux itself, unknown paths and methods, the
// shape of all other errors.
func shaped(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		c := &catcher{header: http.Header{}}
		mux.ServeHTTP(c, r)
		if allow := c.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			fail(w, http.StatusMethodNotAllowed, "method not allowed: use "+allow)
			return
		}
		fail(w, http.StatusNotFound, "no such path")
	})
}

// catcher takes an answer's headers and drops its body.
type catcher struct{ header http.Header }

func (c *catcher) Header() http.Header         { return c.header }
func (c *catcher) Write(b []byte) (int, error) { return len(b), nil }
func (c *catcher) WriteHeader(int)             {}
