// Package pageview takes pages apart for people: header, line pointers, heap
// tuples, index items, metapages, maps and special areas, each field by its
// name in PostgreSQL's source (as contrib/pageinspect shows them) with the
// bytes it lies in; two versions of a page side by side, with what differs
// marked; and a page without what its users stored in it.
//
// Pages are untrusted. Nothing is read outside of a page, a lie in it sizes
// nothing, and a page whose header or items make no sense is shown as far as
// it does make sense.
package pageview
