package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"
)

// sample is one timed run.
type sample struct {
	wall time.Duration
	cpu  time.Duration // of all its threads
	rss  int64         // the most memory it had resident, bytes
}

// of adds what the system says of a process that ended.
func (s sample) of(p *os.ProcessState) sample {
	s.cpu = p.UserTime() + p.SystemTime()
	if u, ok := p.SysUsage().(*syscall.Rusage); ok {
		s.rss = u.Maxrss << 10
	}
	return s
}

// contest is two programs that did the same, in turns.
type contest struct {
	title        string
	ours, theirs string
	o, t         []sample
}

func (c *contest) add(ours, theirs sample) {
	c.o, c.t = append(c.o, ours), append(c.t, theirs)
}

// inTurns lets two programs do the same, runs times each, one after the other;
// what theirs leaves behind goes before ours begins, and the other way round.
func (c *contest) inTurns(h *host, runs int, ours, theirs func() (sample, error)) error {
	for range runs {
		var s [2]sample
		for i, run := range []func() (sample, error){ours, theirs} {
			mark := len(h.cleanups)
			var err error
			if s[i], err = run(); err != nil {
				return err
			}
			h.undo(mark)
		}
		c.add(s[0], s[1])
	}
	return nil
}

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }

func printTable(w io.Writer, wal, records int64, contests ...contest) {
	fmt.Fprintf(w, "%-8s %-22s %8s %18s %9s %9s %9s\n", "", "", "median s", "min – max s", "MB/s", "Mrec/s", "CPU s")
	for _, c := range contests {
		for _, side := range []struct {
			name    string
			samples []sample
		}{{c.ours, c.o}, {c.theirs, c.t}} {
			s := summarise(side.samples)
			fmt.Fprintf(w, "%-8s %-22s %8.3f %18s %9.0f %9.2f %9.2f\n", c.title, side.name, s.wall,
				fmt.Sprintf("%.3f – %.3f", s.least, s.most), mb(wal)/s.wall, float64(records)/1e6/s.wall, s.cpu)
		}
		o, t := summarise(c.o), summarise(c.t)
		fmt.Fprintf(w, "%-8s %s takes %.2f times the wall and %.2f times the CPU time of %s (medians of %d runs)\n",
			"", c.ours, o.wall/t.wall, o.cpu/t.cpu, c.theirs, len(c.o))
	}
}

// summary is in seconds; wall and cpu are medians.
type summary struct{ wall, least, most, cpu float64 }

func summarise(samples []sample) summary {
	var wall, cpu []time.Duration
	for _, s := range samples {
		wall, cpu = append(wall, s.wall), append(cpu, s.cpu)
	}
	return summary{
		wall: median(wall), least: slices.Min(wall).Seconds(), most: slices.Max(wall).Seconds(), cpu: median(cpu),
	}
}

func median(d []time.Duration) float64 {
	slices.SortFunc(d, cmp.Compare)
	n := len(d)
	return (d[(n-1)/2] + d[n/2]).Seconds() / 2
}
