// Package reports shows people what a run, a verification or a scan found:
// as a self-contained HTML file, as the contract's JSON and as text for a
// terminal.
//
// It promises three things. What could not be verified is said before what
// could. A run that did not finish never looks whole. And whatever came from a
// page, a bucket or a configuration is text: it is escaped, control and
// bidirectional characters are made visible, and no byte of a page's contents
// is shown.
//
// The HTML needs no script and asks nobody for anything: its style sheet is
// inline, its drawings are inline SVG, and its Content-Security-Policy allows
// exactly that one style sheet.
package reports
