// Package reports shows people what a run, a verification or a scan found:
// as a self-contained HTML file, as the contract's JSON and as text for a
// terminal.
//
// It promises four things. What could not be verified is said before what
// could. A run that did not finish never looks whole. Whatever came from a
// page, a bucket, a catalog or a configuration is text: it is escaped, control
// and bidirectional characters are made visible, and it is in no command that
// a reader is told to type. And what users stored in a page is shown only
// where the page was kept whole (reports.page_bytes: shown).
//
// The HTML needs no script and asks nobody for anything: its style sheet is
// inline, its drawings are inline SVG, and its Content-Security-Policy allows
// exactly that one style sheet.
package reports
