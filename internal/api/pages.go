package api

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"redoubt/internal/finding"
)

// Pages makes the pages.
type Pages interface {
	Index(w io.Writer, in IndexPage) error
	Run(w io.Writer, run finding.Run) error
	// RunJSON writes a run as `redoubt run --format json` does.
	RunJSON(w io.Writer, run finding.Run) error
	Discrepancies(w io.Writer, in DiscrepanciesPage) error
	Discrepancy(w io.Writer, in DiscrepancyPage) error
	Finding(w io.Writer, in FindingPage) error
	Timelines(w io.Writer, in TimelinesPage) error
	Timeline(w io.Writer, in TimelinePage) error
	// Error says what went wrong to people.
	Error(w io.Writer, title, message string) error
	// CSP is the Content-Security-Policy that the pages need.
	CSP() string
}

// IndexPage lists runs.
type IndexPage struct {
	Runs         []finding.RunSummary
	Newer, Older string // addresses of the other pages; empty: there is none
}

// DiscrepanciesPage lists discrepancies.
type DiscrepanciesPage struct {
	Filter      DiscrepancyFilter
	Found       []finding.Tracked
	First, Next string // addresses of the other pages; empty: there is none
}

// DiscrepancyPage shows one discrepancy.
type DiscrepancyPage struct {
	Found finding.Tracked
	Span  finding.Verification // that saw it last; zero: it is not known any more
	Acks  []finding.AckRecord  // all there were, the newest first
	Form  AckForm
}

// FindingPage shows a gap or a damaged segment.
type FindingPage struct {
	Found finding.AckRecord // what it is of
	Open  bool              // it is still there
	Acks  []finding.AckRecord
	Form  AckForm
}

// AckForm is the form as it was sent, with what was wrong with it.
type AckForm struct {
	AckRequest
	Problem string
}

// TimelinesPage lists timelines.
type TimelinesPage struct {
	Timelines    []finding.TimelineStatus
	Newer, Older string
}

// TimelinePage shows one timeline.
type TimelinePage struct {
	Timeline finding.TimelineStatus
	Found    []finding.Tracked // open ones, the last seen first
	More     string            // where all of them are; empty: these are all
}

// Sizes of lists on pages.
const (
	pageRows      = 100
	timelineFound = 20
	pageAcks      = 50
)

func (s *Server) indexPage(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	offset := q.number("offset", 0, maxOffset, 0)
	runs, err := firstOf(q.err(), func() ([]finding.RunSummary, error) {
		return s.Ledger.Runs(r.Context(), "", pageRows+1, offset)
	})
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	in := IndexPage{Runs: runs[:min(len(runs), pageRows)]}
	in.Newer, in.Older = neighbours("/", offset, len(runs) > pageRows)
	s.show(w, r, http.StatusOK, func(w io.Writer) error { return s.Pages.Index(w, in) })
}

// firstOf does the work unless something is wrong already.
func firstOf[T any](err error, work func() (T, error)) (T, error) {
	if err != nil {
		var zero T
		return zero, err
	}
	return work()
}

// neighbours are the addresses of the pages before and behind one.
func neighbours(path string, offset int, more bool) (before, behind string) {
	at := func(n int) string {
		if n <= 0 {
			return path
		}
		return path + "?offset=" + decimal(n)
	}
	if offset > 0 {
		before = at(offset - pageRows)
	}
	if more {
		behind = at(offset + pageRows)
	}
	return before, behind
}

func (s *Server) runPage(w http.ResponseWriter, r *http.Request) {
	run, err := s.Ledger.Run(r.Context(), r.PathValue("id"))
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, func(w io.Writer) error { return s.Pages.Run(w, run) })
}

func (s *Server) discrepanciesPage(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	f := q.discrepancies()
	f.Limit = pageRows
	found, err := firstOf(q.err(), func() ([]finding.Tracked, error) { return s.discrepancies(r, f) })
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	found, last := cutAt(found, f.Limit)
	in := DiscrepanciesPage{Filter: f, Found: found}
	if f.After != nil {
		in.First = address("/discrepancy", f, nil)
	}
	if last != nil {
		in.Next = address("/discrepancy", f, last)
	}
	s.show(w, r, http.StatusOK, func(w io.Writer) error { return s.Pages.Discrepancies(w, in) })
}

func (s *Server) findingPage(w http.ResponseWriter, r *http.Request) {
	s.showFinding(w, r, http.StatusOK, AckForm{})
}

// showFinding shows the page of a discrepancy, a gap or a damaged segment.
func (s *Server) showFinding(w http.ResponseWriter, r *http.Request, status int, form AckForm) {
	id := r.PathValue("id")
	acks, err := s.Ledger.Acks(r.Context(), id, true, pageAcks)
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	found, err := s.Ledger.Discrepancy(r.Context(), id)
	if err == nil {
		span, err := s.Ledger.SpanOf(r.Context(), found)
		if err != nil {
			s.failPage(w, r, err)
			return
		}
		s.show(w, r, status, func(w io.Writer) error { return s.Pages.Discrepancy(w, DiscrepancyPage{found, span, acks, form}) })
		return
	}
	in := FindingPage{Acks: acks, Form: form, Open: true}
	if errors.Is(err, ErrNotFound) {
		in.Found, err = s.Ledger.Finding(r.Context(), id)
	}
	if errors.Is(err, ErrNotFound) && len(acks) > 0 {
		in.Found, in.Open, err = acks[0], false, nil
	}
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	s.show(w, r, status, func(w io.Writer) error { return s.Pages.Finding(w, in) })
}

func (s *Server) timelinesPage(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	offset := q.number("offset", 0, maxOffset, 0)
	all, err := s.timelines(r, q)
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	rest := skip(all, offset)
	in := TimelinesPage{Timelines: rest[:min(len(rest), pageRows)]}
	in.Newer, in.Older = neighbours("/timeline", offset, len(rest) > pageRows)
	s.show(w, r, http.StatusOK, func(w io.Writer) error { return s.Pages.Timelines(w, in) })
}

func (s *Server) timelinePage(w http.ResponseWriter, r *http.Request) {
	all, err := s.timelines(r, newQuery(r))
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	i := slices.IndexFunc(all, func(t finding.TimelineStatus) bool {
		return t.TenantID == r.PathValue("tenant") && t.TimelineID == r.PathValue("timeline")
	})
	if i < 0 {
		s.failPage(w, r, ErrNotFound)
		return
	}
	f := DiscrepancyFilter{Tenant: all[i].TenantID, Timeline: all[i].TimelineID, State: "open", Limit: timelineFound}
	found, err := s.discrepancies(r, f)
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	in := TimelinePage{Timeline: all[i]}
	in.Found, _ = cutAt(found, f.Limit)
	if len(found) > f.Limit {
		in.More = address("/discrepancy", f, nil)
	}
	s.show(w, r, http.StatusOK, func(w io.Writer) error { return s.Pages.Timeline(w, in) })
}

// show makes a page whole and sends it; half a page is never sent.
func (s *Server) show(w http.ResponseWriter, r *http.Request, status int, f func(io.Writer) error) {
	if body := s.render(w, r, f); body != nil {
		s.page(w, status, body)
	}
}

func (s *Server) page(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Security-Policy", s.Pages.CSP()+"; frame-ancestors 'none'")
	write(w, status, "text/html; charset=utf-8", body)
}

// failPage answers an error to people as a page, to programs as JSON.
func (s *Server) failPage(w http.ResponseWriter, r *http.Request, err error) {
	status, message := s.judge(r, err)
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		fail(w, status, message)
		return
	}
	body := s.render(w, r, func(w io.Writer) error { return s.Pages.Error(w, http.StatusText(status), message) })
	if body != nil {
		s.page(w, status, body)
	}
}

// address is that of a list of discrepancies.
func address(path string, f DiscrepancyFilter, after *Place) string {
	v := url.Values{}
	for key, value := range map[string]string{
		"kind": string(f.Kind), "severity": string(f.Severity), "tenant": f.Tenant, "timeline": f.Timeline, "state": f.State, "text": f.Text,
	} {
		if value != "" {
			v.Set(key, value)
		}
	}
	if after != nil {
		v.Set("cursor", after.cursor())
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}
