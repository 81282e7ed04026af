package reports

import (
	"fmt"
	"regexp"
	"strings"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// runbook says what a finding means and what to do about it now.
type runbook struct {
	Means      string
	Confirm    []step // on the server
	Repair     []step
	FalseAlarm string // when it is none
}

// step is one thing to do; Code is for psql or a shell, nothing in it comes
// from a page or a name that could mean something there.
type step struct{ Text, Code string }

// class is what a damaged block is part of: it decides how to look at it and
// how to repair it.
type class string

const (
	ofTable    class = "table"
	ofIndex    class = "index"
	ofToast    class = "toast"
	ofMap      class = "map"
	ofSequence class = "sequence"
	ofSLRU     class = "slru"
)

func classOf(d *finding.Discrepancy) class {
	switch r := d.Relation; {
	case r == nil:
		return ofSLRU
	case r.Fork == pg.VMFork || r.Fork == pg.FSMFork:
		return ofMap
	case r.IndexOf != "":
		return ofIndex
	case r.ToastOf != "":
		return ofToast
	}
	switch pageKind(d) {
	case page.KindSequence:
		return ofSequence
	case page.KindHeap, page.KindUnknown, page.KindNew:
		return ofTable
	}
	return ofIndex
}

func runbookOf(v *finding.Verification, d *finding.Discrepancy) runbook {
	b := runbook{Means: meanings[d.Kind], FalseAlarm: falseAlarms[d.Kind]}
	if b.Means == "" {
		b.Means = "Redoubt has no words for this kind."
	}
	if d.Severity == finding.Benign {
		return b
	}
	b.Confirm = confirm(v, d)
	b.Repair = repair(v, d)
	return b
}

var simpleName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// sqlName is schema.relation as SQL may have it, and the call that finds the
// relation by the number of its file where the name would need quotes.
func sqlName(r *finding.Relation) (string, bool) {
	schema, name, ok := strings.Cut(r.Name, ".")
	if ok && simpleName.MatchString(schema) && simpleName.MatchString(name) {
		return r.Name, true
	}
	return "", false
}

// byNumber is a call that names the relation by its file, whatever it is called.
func byNumber(r *finding.Relation) string {
	return fmt.Sprintf("pg_filenode_relation(%d, %d)", r.Tablespace, r.RelFileNode)
}

// withName writes a statement with the relation's name in place of %s;
// where the name needs quotes psql's \gexec puts it in.
func withName(r *finding.Relation, statement string) string {
	if name, ok := sqlName(r); ok {
		return strings.ReplaceAll(statement, "%s", name) + ";"
	}
	return "SELECT format('" + strings.ReplaceAll(statement, "'", "''") + "', " + byNumber(r) + ") \\gexec"
}

// connect is the command that opens the right database.
func connect(r *finding.Relation) step {
	switch {
	case r.Database == 0:
		return step{"Connect to any database of the cluster as a superuser.", "psql -d postgres"}
	case simpleName.MatchString(r.DatabaseName):
		return step{"Connect to the database as a superuser.", "psql -d " + r.DatabaseName}
	}
	return step{"Find the database by its OID, and connect to it as a superuser.", fmt.Sprintf("psql -d postgres -c 'SELECT datname FROM pg_database WHERE oid = %d'", r.Database)}
}

func confirm(v *finding.Verification, d *finding.Discrepancy) []step {
	if d.Relation == nil {
		return confirmSLRU(d)
	}
	r := d.Relation
	who := relationName(&finding.Relation{Name: r.Name, Tablespace: r.Tablespace, Database: r.Database, RelFileNode: r.RelFileNode})
	steps := []step{connect(r), {
		"Is the file still in use? The answer must be " + who + ". If it is empty, the relation was rewritten, truncated or dropped since: this file is gone, and what matters is whether the damage was copied along.",
		"SELECT " + byNumber(r) + ";",
	}}
	if d.Block == nil {
		return append(steps, confirmRelation(d)...)
	}
	steps = append(steps, confirmPage(d)...)
	return append(steps, confirmContents(d)...)
}

// confirmPage asks the server for the page as it has it.
func confirmPage(d *finding.Discrepancy) []step {
	r := d.Relation
	text := "Which version does the server itself have? The official side is a copy; the server may be right."
	if d.ReplayedLSN != nil {
		text += " An LSN of " + d.ReplayedLSN.String() + " or above: the server has what the WAL says, and only the copy is damaged."
	}
	if d.OfficialLSN != nil && d.ReplayedLSN != nil && *d.OfficialLSN < *d.ReplayedLSN {
		text += " " + d.OfficialLSN.String() + ": the server has the damage, too."
	}
	if d.OfficialLSN != nil && d.ReplayedLSN != nil && *d.OfficialLSN == *d.ReplayedLSN {
		text += " Here both versions have this LSN, so look at the contents as well."
	}
	file := fmt.Sprintf(`psql -c CHECKPOINT && dd if="$PGDATA"/%s bs=8192 skip=%d count=1 status=none | od -A d -t x1 -N 24`, shellQuote(plain(d.File)), d.Offset/pg.BlockSize)
	return []step{
		{text, fmt.Sprintf("CREATE EXTENSION IF NOT EXISTS pageinspect;\nSELECT * FROM page_header(get_raw_page(%s::text, '%s', %d));", byNumber(r), r.Fork, *d.Block)},
		{"And on its disk, past the server's memory (in a shell on the server; the first 8 bytes are the LSN, each half with its lowest byte first).", file},
	}
}

// confirmContents looks at what the page holds.
func confirmContents(d *finding.Discrepancy) []step {
	r, block := d.Relation, *d.Block
	raw := fmt.Sprintf("get_raw_page(%s::text, %d)", byNumber(r), block)
	where := ""
	if n := len(d.Items); n > 0 {
		where = fmt.Sprintf(" WHERE lp BETWEEN %d AND %d", d.Items[0][0], d.Items[n-1][1]-1)
	}
	switch classOf(d) {
	case ofTable, ofToast:
		return []step{
			{"Its row versions, to hold against the table below.", "SELECT lp, lp_flags, t_ctid, t_xmin, t_xmax FROM heap_page_items(" + raw + ")" + where + ";"},
			{"The rows themselves, as queries get them now.", withName(r, "SELECT ctid, * FROM %s WHERE ctid >= "+fmt.Sprintf("'(%d,0)' AND ctid < '(%d,0)'", block, block+1))},
			{"Let PostgreSQL check the page.", fmt.Sprintf("CREATE EXTENSION IF NOT EXISTS amcheck;\nSELECT * FROM verify_heapam(%s, startblock := %d, endblock := %d);", byNumber(r), block, block)},
		}
	case ofIndex:
		if k := pageKind(d); k == page.KindBtree || k == page.KindUnknown {
			return []step{{"Let PostgreSQL check the whole index against its table (btree only; it reads both).",
				fmt.Sprintf("CREATE EXTENSION IF NOT EXISTS amcheck;\nSELECT bt_index_check(%s, heapallindexed => true);", byNumber(r))}}
		}
	case ofMap:
		return []step{{"Which pages does the map call all-visible or all-frozen that are not? No row means that it does no harm now.",
			fmt.Sprintf("CREATE EXTENSION IF NOT EXISTS pg_visibility;\nSELECT * FROM pg_check_visible(%s) LIMIT 10;\nSELECT * FROM pg_check_frozen(%s) LIMIT 10;", byNumber(r), byNumber(r))}}
	case ofSequence:
		return []step{{"Its value, to hold against the highest one in use in the table's column.", withName(r, "SELECT last_value, log_cnt, is_called FROM %s")}}
	}
	return nil
}

func confirmRelation(d *finding.Discrepancy) []step {
	r := d.Relation
	return []step{
		{"Its size as the server has it, in blocks.", fmt.Sprintf("SELECT pg_relation_size(%s, '%s') / 8192 AS blocks, pg_relation_filepath(%s);", byNumber(r), r.Fork, byNumber(r))},
		{"And on its disk, segment by segment (in a shell on the server).", `ls -l "$PGDATA"/` + shellQuote(plain(d.File)) + "*"},
	}
}

func confirmSLRU(d *finding.Discrepancy) []step {
	steps := []step{{"The page on the server's disk (in a shell on the server).",
		fmt.Sprintf(`psql -d postgres -c CHECKPOINT && dd if="$PGDATA"/%s bs=8192 skip=%d count=1 status=none | sha256sum`, shellQuote(plain(d.File)), d.Offset/pg.BlockSize)}}
	if first, last, ok := slruRange(d); ok {
		steps = append(steps, step{"What the server believes of these transactions; an old one answers nothing.",
			fmt.Sprintf("psql -d postgres -c \"SELECT x, pg_xact_status(x::text::xid8) FROM generate_series(%d, %d) AS x LIMIT 50\"", first, last)})
	}
	return steps
}

func repair(v *finding.Verification, d *finding.Discrepancy) []step {
	if d.Kind == finding.WrongRedo || d.Blame == finding.BlameEngine {
		return []step{
			{"Nothing in production on this evidence alone: an engine is wrong, and it may be Redoubt's.", ""},
			{"Keep base, WAL and this report, and report the record named above; it is needed to find the fault.", ""},
		}
	}
	steps := []step{{"Keep the evidence first: copy the damaged file, this report and its JSON, and the WAL of the span " + rangeOf(v.Span) + " to a safe place. Stop whatever would remove them (retention of backups and WAL).", ""}}
	if d.Blame == finding.BlameBase {
		return append(steps, step{"The base of the span is what is damaged. Do not restore from it: verify an older base against the official side, and take a new base backup.", ""})
	}
	steps = append(steps, step{"If the server has the right version and only the copy is damaged: take a new base backup, verify it, mark this one as not to be restored, and look for the cause on the way to the bucket.", ""})
	switch classOf(d) {
	case ofIndex:
		return append(steps, step{"If the server has the damage: rebuild the index. It holds nothing that its table does not.", withName(d.Relation, "REINDEX INDEX CONCURRENTLY %s")})
	case ofMap:
		return append(steps, step{"If the server has the damage: throw the map away, and let VACUUM make it anew. No data is in it.",
			fmt.Sprintf("CREATE EXTENSION IF NOT EXISTS pg_visibility;\nSELECT pg_truncate_visibility_map(%s);\n", byNumber(d.Relation)) + withName(d.Relation, "VACUUM (DISABLE_PAGE_SKIPPING) %s")})
	case ofSequence:
		return append(steps, step{"If the server has the damage: set the sequence past the highest value in use (setval).", ""})
	}
	return append(steps, restoreSteps(v, d)...)
}

// restoreSteps get lost data back: the WAL has it, as this run has shown.
func restoreSteps(v *finding.Verification, d *finding.Discrepancy) []step {
	rows := "the rows of the block"
	switch {
	case d.Relation == nil:
		rows = "the rows of these transactions"
	case d.Block == nil:
		rows = "the relation"
	case len(d.Items) > 0:
		rows = ctidRange(*d.Block, d.Items)
	}
	return []step{
		{"If the server has the damage: look at a standby with the commands above. A standby replays the WAL on its own storage. If its page is right, switch over to it, and rebuild the old primary from scratch.", ""},
		{"Otherwise restore beside production: a base backup from before " + v.Span.To.String() + " that verifies, and the WAL up to there. Then copy " + rows + " over.",
			fmt.Sprintf("recovery_target_lsn = '%s'\nrecovery_target_inclusive = off\nrecovery_target_action = promote", v.Span.To)},
		{"Until then keep VACUUM away, which may make the damage final, and find the cause before you trust this storage again: kernel log, SMART, controller, file system, hypervisor, and who copies these files.", ""},
	}
}

// slruRange is which transactions a page of pg_xact differs in.
func slruRange(d *finding.Discrepancy) (first, last int64, ok bool) {
	const perByte = 4 // CLOG_XACTS_PER_BYTE
	n := len(d.ByteRanges)
	if !strings.HasPrefix(d.File, "pg_xact/") || d.Block == nil || n == 0 || *d.Block < 0 || *d.Block > 1<<21 {
		return 0, 0, false
	}
	at := *d.Block * pg.BlockSize
	return (at + int64(d.ByteRanges[0][0])) * perByte, (at+int64(d.ByteRanges[n-1][1]))*perByte - 1, true
}
