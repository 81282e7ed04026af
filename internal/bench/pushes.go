package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// pushes times `redoubt archive-push` of one segment after the other, each a
// whole process, against `cp` and against `cp` with fsync, in turns.
func (b *backup) pushes(rounds int) error {
	var pushers []*pusher
	for _, how := range compressions {
		p, err := b.pusher("directory, "+how, b.h.TempDir(), how)
		if err != nil {
			return err
		}
		pushers = append(pushers, p)
	}
	loc, remove := b.bucket()
	defer remove()
	p, err := b.pusher("S3, none", loc, "none")
	if err != nil {
		return err
	}
	pushers = append(pushers, p)
	var copied, synced, start []sample
	segments := b.segments[:min(len(b.segments), 4*rounds)]
	for i, name := range segments {
		path := filepath.Join(b.dir, name)
		for _, p := range pushers {
			s, err := command(b.redoubt, "archive-push", "-c", p.config, path)
			if err != nil {
				return err
			}
			if i > 0 { // the first call learns of which cluster the WAL is
				p.samples = append(p.samples, s)
			}
		}
		for _, c := range []struct {
			to     *[]sample
			script string
		}{{&copied, `cp "$0" "$1"`}, {&synced, `cp "$0" "$1" && sync "$1" "$2"`}} {
			dir := b.h.TempDir()
			s, err := command("sh", "-c", c.script, path, filepath.Join(dir, name), dir)
			if err != nil {
				return err
			}
			*c.to = append(*c.to, s)
		}
		s, err := command(b.redoubt, "version")
		if err != nil {
			return err
		}
		start = append(start, s)
	}
	base := summarise(synced).wall
	fmt.Printf("%-8s %-18s %9s %20s %9s %14s\n", "push", "", "median ms", "min – max ms", "CPU ms", "to cp + fsync")
	line := func(what string, samples []sample) {
		s := summarise(samples)
		fmt.Printf("%-8s %-18s %9.1f %20s %9.1f %14.2f\n", "", what, 1000*s.wall, fmt.Sprintf("%.1f – %.1f", 1000*s.least, 1000*s.most), 1000*s.cpu, s.wall/base)
	}
	line("cp", copied)
	line("cp + fsync", synced)
	line("redoubt version", start)
	for _, p := range pushers {
		line(p.what, p.samples)
	}
	return nil
}

// pusher is a place that archive-push stores to.
type pusher struct {
	what    string
	config  string
	samples []sample
}

func (b *backup) pusher(what, bucket, compression string) (*pusher, error) {
	dir := b.h.TempDir()
	p := &pusher{what: what, config: filepath.Join(dir, "config.yaml")}
	text := fmt.Sprintf(agentFile, filepath.Join(dir, "data"), bucket, compression, b.dir, parallel)
	return p, os.WriteFile(p.config, []byte(text), 0o600)
}
