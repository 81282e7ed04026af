// Package api is the HTTP of `redoubt serve`: report pages, the JSON of runs,
// discrepancies and timelines, the start of a run, metrics and health.
//
// It keeps no state and knows no other room: what it shows comes through the
// small interfaces below, which the command line fills.
//
// Who may ask: without a token only this machine, and only by a name of this
// machine (a web page must not reach it by pointing a domain at 127.0.0.1);
// with tokens whoever has one of the scope that a path asks for, except that
// /healthz and /readyz, which say nothing but "ok", are open. A token may be
// bound to tenants: others then do not exist for it. A request that changes something must be JSON
// and must not come from another site's page. Every error is JSON,
// {"error": "…"}; what went wrong inside is logged and not told.
package api
