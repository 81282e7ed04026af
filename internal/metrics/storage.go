package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"redoubt/internal/storage"
)

// storageUse counts what is asked of stores.
type storageUse struct {
	requests, errors, seconds, bytes *prometheus.CounterVec
}

func newStorageUse(r *prometheus.Registry) *storageUse {
	u := &storageUse{
		requests: counters("redoubt_storage_requests_total", "Operations on stores, failed ones included.", "op"),
		errors:   counters("redoubt_storage_errors_total", "Operations on stores that failed.", "op"),
		seconds:  counters("redoubt_storage_seconds_total", "Time that was waited for stores.", "op"),
		bytes:    counters("redoubt_storage_bytes_total", "Bytes read from stores and written to them.", "op"),
	}
	for _, op := range storage.Ops() {
		u.requests.WithLabelValues(op)
		u.errors.WithLabelValues(op)
		u.seconds.WithLabelValues(op)
	}
	for _, op := range []string{storage.OpRead, storage.OpPut} {
		u.bytes.WithLabelValues(op)
	}
	r.MustRegister(u.requests, u.errors, u.seconds, u.bytes)
	return u
}

// Access counts an operation on a store.
func (u *storageUse) Access(a storage.Access) {
	u.requests.WithLabelValues(a.Op).Inc()
	if a.Failed() {
		u.errors.WithLabelValues(a.Op).Inc()
	}
	u.seconds.WithLabelValues(a.Op).Add(max(0, time.Duration.Seconds(a.Took)))
	if a.Bytes > 0 {
		u.bytes.WithLabelValues(a.Op).Add(float64(a.Bytes))
	}
}
