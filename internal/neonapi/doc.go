// Package neonapi asks Neon's pageservers and safekeepers, over HTTP, what
// timelines there are and what should be stored of them. It only ever asks: no
// call changes anything.
//
//	pageserver  GET /v1/status, /v1/tenant, /v1/tenant/:shard/timeline_and_offloaded, /v1/location_config/:shard
//	safekeeper  GET /v1/status, /v1/tenant/timeline, /v1/tenant/:tenant/timeline/:timeline
//
// Answers are read within bounds. A key that is not known is passed over, one
// that is missing is an error with its name. A server that does not answer, or
// refuses, is never taken for one that has nothing.
//
// Sources: pageserver/src/http/routes.rs, safekeeper/src/http/routes.rs,
// libs/pageserver_api/src/models.rs, libs/safekeeper_api/src/models.rs and
// libs/utils/src/auth.rs of Neon.
package neonapi
