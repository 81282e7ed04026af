package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"redoubt/internal/pg"
	"redoubt/internal/storage"
)

// A pageserver keeps, for each shard of a tenant and each timeline, the newest
// index of its layers under the highest generation:
//
//	tenants/<tenant>[-<number><count>]/timelines/<timeline>/index_part.json[-<generation>]
//
// Source: pageserver/src/tenant/remote_timeline_client.rs and its index.rs of Neon.
const indexName = "index_part.json"

// maxIndex bounds an index in bytes: some hundred for each layer.
const maxIndex = 512 << 20

// neonBranch reads where a timeline leaves its ancestor, or left it before it
// was detached from it, from the newest index of any of its shards; nil if it
// is a root. ErrNotExist if there is no index.
func neonBranch(ctx context.Context, pages *storage.Store, retry Retry, tenant, timeline string) (b *Branch, err error) {
	err = retry.Do(ctx, func() error {
		key, err := neonIndex(ctx, pages, tenant, timeline)
		if err != nil {
			return err
		}
		rc, err := pages.Open(ctx, key)
		if err != nil {
			return err
		}
		var wrong error
		if b, wrong = parseNeonIndex(rc); wrong != nil {
			var failed *storage.Error
			if !errors.As(wrong, &failed) {
				wrong = damaged(pages, key, "%v", wrong)
			}
		}
		return errors.Join(wrong, rc.Close())
	})
	return b, err
}

// neonIndex finds the newest index: that of the newest shards, of which the
// first, of the highest generation.
func neonIndex(ctx context.Context, pages *storage.Store, tenant, timeline string) (string, error) {
	var shards []string
	for o, err := range pages.List(ctx, pagesDir+"/"+tenant, storage.ListOptions{Dirs: true}) {
		if err != nil {
			return "", err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(o.Key, pagesDir+"/"), "/")
		if _, _, ok := parseShard(name); ok && o.Dir && strings.HasPrefix(name, tenant) {
			shards = append(shards, name)
		}
	}
	slices.SortFunc(shards, func(a, b string) int {
		numberA, countA, _ := parseShard(a)
		numberB, countB, _ := parseShard(b)
		return cmp.Or(cmp.Compare(countB, countA), cmp.Compare(numberA, numberB))
	})
	for _, shard := range shards {
		prefix := pagesDir + "/" + shard + "/timelines/" + timeline + "/" + indexName
		newest, found := "", int64(-2)
		for o, err := range pages.List(ctx, prefix, storage.ListOptions{Dirs: true}) {
			if err != nil {
				return "", err
			}
			if g, ok := generation(strings.TrimPrefix(o.Key, prefix)); ok && !o.Dir && g > found {
				newest, found = o.Key, g
			}
		}
		if newest != "" {
			return newest, nil
		}
	}
	return "", fmt.Errorf("find the index of %s/%s at %s: %w", tenant, timeline, pages.Location(), storage.ErrNotExist)
}

// parseShard reads the id of a tenant's shard: the tenant's alone if it has but one.
func parseShard(s string) (number, count int, ok bool) {
	if NeonID(s) {
		return 0, 1, true
	}
	if len(s) != 37 || s[32] != '-' || !NeonID(s[:32]) || strings.ToLower(s) != s {
		return 0, 0, false
	}
	n, err1 := strconv.ParseUint(s[33:35], 16, 8)
	c, err2 := strconv.ParseUint(s[35:], 16, 8)
	return int(n), int(c), err1 == nil && err2 == nil && n < c
}

// generation reads the end of an index's name: -1 for one from before there
// were generations.
func generation(suffix string) (int64, bool) {
	if suffix == "" {
		return -1, true
	}
	if len(suffix) != 9 || suffix[0] != '-' || strings.ToLower(suffix) != suffix {
		return 0, false
	}
	g, err := strconv.ParseUint(suffix[1:], 16, 32)
	return int64(g), err == nil
}

// parseNeonIndex reads, of an index of layers, where the timeline leaves its
// ancestor, or left it before it was detached from it; nil if it is a root. The
// layers, which may be very many, are passed over.
func parseNeonIndex(r io.Reader) (*Branch, error) {
	limited := &io.LimitedReader{R: r, N: maxIndex}
	dec := json.NewDecoder(limited)
	var meta struct {
		Timeline *string `json:"ancestor_timeline"`
		LSN      *pg.LSN `json:"ancestor_lsn"`
	}
	var lineage struct {
		Original []json.RawMessage `json:"original_ancestor"`
	}
	seen := false
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errors.New("it is no JSON object"), err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		switch key {
		case "metadata", "metadata_bytes":
			seen = true
			if err = dec.Decode(&meta); err != nil {
				err = fmt.Errorf("its metadata are in no form that is known, as before version 7: %w", err)
			}
		case "lineage":
			err = dec.Decode(&lineage)
		default:
			err = skipValue(dec)
		}
		if err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("it is cut off: %w", err)
	}
	switch {
	case !seen:
		return nil, errors.New("it has no metadata")
	case meta.Timeline != nil:
		if meta.LSN == nil {
			return nil, errors.New("it has no metadata.ancestor_lsn")
		}
		return branchAt(*meta.Timeline, *meta.LSN)
	case len(lineage.Original) > 0:
		return originalAncestor(lineage.Original)
	}
	return nil, nil
}

// originalAncestor reads [timeline, LSN, time].
func originalAncestor(of []json.RawMessage) (*Branch, error) {
	var timeline string
	var at pg.LSN
	if len(of) < 2 {
		return nil, errors.New("lineage.original_ancestor has no timeline and LSN")
	}
	if err := errors.Join(json.Unmarshal(of[0], &timeline), json.Unmarshal(of[1], &at)); err != nil {
		return nil, fmt.Errorf("lineage.original_ancestor: %w", err)
	}
	return branchAt(timeline, at)
}

func branchAt(timeline string, at pg.LSN) (*Branch, error) {
	if !NeonID(timeline) {
		return nil, fmt.Errorf("%q can't be the id of an ancestor", timeline)
	}
	if at == pg.InvalidLSN {
		return nil, fmt.Errorf("its ancestor %s has no LSN", timeline)
	}
	return &Branch{Timeline: timeline, LSN: at}, nil
}

// skipValue reads over one value, however large.
func skipValue(dec *json.Decoder) error {
	for depth := 0; ; {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
