package check

import (
	"net"
	"strings"
	"testing"
	"time"

	"redoubt/internal/config"
)

func TestClock(t *testing.T) {
	now := time.Now()
	want(t, Clock(now, time.Time{}, Stepped(now, time.Now())), OK)
	want(t, Clock(now, time.Time{}, time.Minute), Warning, "set by 1m0s")
	want(t, Clock(now, now.Add(time.Hour), 0), Failed, "before this program was built", "chrony")
	if _, bad := Newer(now, now.Add(30*time.Second), "x"); bad {
		t.Error("half a minute is no skew")
	}
	i, bad := Newer(now, now.Add(time.Hour), "the newest run")
	if !bad {
		t.Error("an hour is skew")
	}
	want(t, i, Failed, "the newest run is 1h0m0s in the future")
	want(t, Skew("prod", -30*time.Second), OK, "30s")
	want(t, Skew("prod", 10*time.Minute), Failed, "10m0s ahead of", "15 minutes")
	want(t, Skew("prod", -10*time.Minute), Failed, "10m0s behind")
}

func TestSchedules(t *testing.T) {
	now := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	c := config.Default()
	c.Jobs = map[string]config.Job{
		"a": {Schedule: "CRON_TZ=Europe/Berlin 30 4 * * *"}, "b": {Schedule: "0 2 * * *"}, "c": {Schedule: "@every 6h"}, "d": {Schedule: "x"},
	}
	items := Schedules(&c, now)
	want(t, items[0], OK, "04:30:00 +02:00") // summer time from the 29th on
	want(t, items[1], Warning, "CRON_TZ=UTC")
	want(t, items[2], OK, "18:00:00")
	want(t, items[3], Failed, "jobs.d.schedule")
}

func TestAddresses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := l.Addr().String()
	want(t, Listen(t.Context(), taken), Warning, taken, "is in use", "redoubt serve")
	want(t, Listen(t.Context(), "127.0.0.1:0"), OK, "free")
	want(t, Listen(t.Context(), "192.0.2.1:8480"), Failed, "an address that this machine has")
	want(t, Pushgateway(t.Context(), "http://"+taken), OK, "answers")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, Pushgateway(t.Context(), "http://user:word@"+taken), Failed, "does not answer", "metrics.pushgateway")
	if i := Pushgateway(t.Context(), "http://user:word@"+taken); strings.Contains(i.Detail+i.Cure, "word") {
		t.Errorf("%+v", i)
	}
}
