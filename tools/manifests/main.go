// Command manifests checks Kubernetes manifests against the API's own types:
// an unknown kind, an unknown or doubled key, or a value of the wrong type is
// an error. What the API server alone knows (admission, quotas) it can't say.
//
//	manifests FILE...
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
)

func main() {
	failed := false
	for _, file := range os.Args[1:] {
		kinds, err := check(file)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			failed = true
			continue
		}
		fmt.Println(file, kinds)
	}
	if failed || len(os.Args) < 2 {
		os.Exit(1)
	}
}

// check decodes each document of a file strictly and names their kinds.
func check(file string) (kinds []string, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	known := runtime.NewScheme()
	if err := errors.Join(core.AddToScheme(known), apps.AddToScheme(known), batch.AddToScheme(known)); err != nil {
		return nil, err
	}
	decoder := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	docs := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(b)))
	defer docs.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := docs.Read(buf)
		if errors.Is(err, io.EOF) {
			return kinds, nil
		}
		if err != nil {
			return nil, err
		}
		_, gvk, err := decoder.Decode(buf[:n], nil, nil)
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, gvk.Kind)
	}
}
