package walbackup

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"redoubt/internal/pg"
)

// task is the upload of one file, from when it is first seen to its end.
type task struct {
	name     string
	at       pg.LSN // lower ones first
	attempts int
	due      time.Time
}

// queue holds the tasks of one timeline that have not ended, each name once.
type queue struct {
	now     func() time.Time
	mu      sync.Mutex
	known   map[string]bool // waiting, or being worked on
	ready   heaped          // by LSN
	waiting heaped          // by time
	signal  chan struct{}
}

func newQueue(now func() time.Time) *queue {
	return &queue{
		now:     now,
		known:   make(map[string]bool),
		ready:   heaped{less: func(a, b *task) bool { return a.at < b.at || a.at == b.at && a.name < b.name }},
		waiting: heaped{less: func(a, b *task) bool { return a.due.Before(b.due) }},
		signal:  make(chan struct{}, 1),
	}
}

// add makes a task, unless there is one for the file.
func (q *queue) add(name string, at pg.LSN) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.known[name] {
		return
	}
	q.known[name] = true
	heap.Push(&q.ready, &task{name: name, at: at})
	q.wake()
}

// has reports whether a file's task has not ended.
func (q *queue) has(name string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.known[name]
}

// again has a task tried once more when it is due.
func (q *queue) again(t *task, due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t.due = due
	heap.Push(&q.waiting, t)
	q.wake()
}

// end takes a task out.
func (q *queue) end(t *task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.known, t.name)
}

// wake tells one of those who wait; q.mu is held.
func (q *queue) wake() {
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// take waits for a task that is due; nil when ctx ends.
func (q *queue) take(ctx context.Context) *task {
	for ctx.Err() == nil {
		t, wait := q.next(q.now())
		if t != nil {
			return t
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-q.signal:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// next is the task to work on, or how long until one may be due.
func (q *queue) next(now time.Time) (*task, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.waiting.Len() > 0 && !q.waiting.tasks[0].due.After(now) {
		heap.Push(&q.ready, heap.Pop(&q.waiting))
	}
	if q.ready.Len() == 0 {
		wait := time.Hour
		if q.waiting.Len() > 0 {
			wait = q.waiting.tasks[0].due.Sub(now)
		}
		return nil, wait
	}
	t := heap.Pop(&q.ready).(*task)
	if q.ready.Len() > 0 {
		q.wake() // for the next worker
	}
	return t, 0
}

// heaped is a heap of tasks in the order of less.
type heaped struct {
	tasks []*task
	less  func(a, b *task) bool
}

func (h *heaped) Len() int           { return len(h.tasks) }
func (h *heaped) Less(i, j int) bool { return h.less(h.tasks[i], h.tasks[j]) }
func (h *heaped) Swap(i, j int)      { h.tasks[i], h.tasks[j] = h.tasks[j], h.tasks[i] }
func (h *heaped) Push(x any)         { h.tasks = append(h.tasks, x.(*task)) }
func (h *heaped) Pop() any {
	last := len(h.tasks) - 1
	t := h.tasks[last]
	h.tasks[last] = nil
	h.tasks = h.tasks[:last]
	return t
}
