package main

import (
	"fmt"
	"math/rand/v2"

	"redoubt/internal/pgtest"
)

// billing keeps books: entries of two sides each, invoices, documents.
var billing = business{
	schema: []string{
		"CREATE TABLE ledgers (id int PRIMARY KEY, name text UNIQUE, total numeric(14,2) NOT NULL DEFAULT 0)",
		`CREATE TABLE invoices (id bigserial PRIMARY KEY, ledger int NOT NULL REFERENCES ledgers, amount numeric(12,2),
			state text NOT NULL DEFAULT 'open', note text)`,
		"CREATE INDEX invoices_state ON invoices (state)",
		"CREATE TABLE entries (id bigserial PRIMARY KEY, invoice bigint, side char(1), amount numeric(12,2), booked_at timestamptz DEFAULT now())",
		"CREATE INDEX entries_invoice ON entries (invoice)",
		"CREATE TABLE documents (id serial PRIMARY KEY, body text)",
		"ALTER TABLE documents ALTER body SET STORAGE EXTERNAL",
		"CREATE TABLE rates (currency text PRIMARY KEY, rate numeric NOT NULL, seen int NOT NULL DEFAULT 1)",
		"INSERT INTO ledgers SELECT i, 'ledger ' || i FROM generate_series(1, 120) i",
		"INSERT INTO invoices (ledger, amount, note) SELECT i % 120 + 1, i % 500, 'carried over' FROM generate_series(1, 5000) i",
		"INSERT INTO entries (invoice, side, amount) SELECT i, s, i % 500 FROM generate_series(1, 5000) i, unnest(ARRAY['d', 'c']) s",
		"VACUUM (FREEZE, ANALYZE)",
	},
	deal:    billingDeal,
	evening: billingEvening,
	night: func(c *pgtest.Cluster, day int) error {
		return c.TryExec("postgres",
			fmt.Sprintf("INSERT INTO entries (invoice, side, amount) SELECT i, 'd', 1 FROM generate_series(%d, %d) i", 50*day+1, 50*day+50),
			"INSERT INTO rates VALUES ('EUR', 1.1) ON CONFLICT (currency) DO UPDATE SET seen = rates.seen + 1")
	},
}

func billingDeal(r *rand.Rand) []string {
	invoice, ledger := 1+r.IntN(5000), 1+r.IntN(120)
	switch r.IntN(10) {
	case 0: // a wrong booking, taken back
		return []string{fmt.Sprintf(`BEGIN; INSERT INTO entries (invoice, side, amount) VALUES (%[1]d, 'd', 1); SAVEPOINT s;
			INSERT INTO entries (invoice, side, amount) VALUES (%[1]d, 'x', 1); ROLLBACK TO s; COMMIT`, invoice)}
	case 1: // the document of an invoice, out of line
		return []string{fmt.Sprintf("INSERT INTO documents (body) VALUES (repeat('invoice %d ', %d))", invoice, 200+r.IntN(300))}
	case 2: // a rate
		return []string{fmt.Sprintf("INSERT INTO rates VALUES ('%s', %d) ON CONFLICT (currency) DO UPDATE SET rate = excluded.rate, seen = rates.seen + 1",
			pick(r, "EUR", "USD", "JPY", "CHF"), 1+r.IntN(100))}
	case 3: // an invoice is struck out
		return []string{fmt.Sprintf("BEGIN; DELETE FROM entries WHERE invoice = %[1]d; UPDATE invoices SET state = 'void', note = NULL WHERE id = %[1]d; COMMIT", invoice)}
	}
	return []string{fmt.Sprintf(`BEGIN;
		INSERT INTO invoices (ledger, amount) VALUES (%[1]d, %[2]d);
		INSERT INTO entries (invoice, side, amount) VALUES (currval('invoices_id_seq'), 'd', %[2]d), (currval('invoices_id_seq'), 'c', %[2]d);
		UPDATE ledgers SET total = total + %[2]d WHERE id = %[1]d; COMMIT`, ledger, 1+r.IntN(900))}
}

func billingEvening(day int) []string {
	return []string{
		fmt.Sprintf("UPDATE invoices SET state = 'paid' WHERE state = 'open' AND id %% 7 = %d", day),
		"DELETE FROM documents WHERE id % 3 = 0", "VACUUM documents", "VACUUM invoices", "VACUUM FREEZE ledgers", "VACUUM entries",
		fmt.Sprintf("CREATE TABLE closing_%d AS SELECT ledger, sum(amount) FROM invoices GROUP BY ledger", day),
		"CREATE INDEX CONCURRENTLY IF NOT EXISTS invoices_ledger ON invoices (ledger)",
		"ANALYZE",
	}
}
