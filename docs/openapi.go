// Package docs holds what of the documents the program itself hands out.
package docs

import _ "embed" // the document

// OpenAPI describes the HTTP of `redoubt serve`.
//
//go:embed openapi.yaml
var OpenAPI []byte
