package main

import (
	"fmt"
	"math/rand/v2"

	"redoubt/internal/pgtest"
)

// shop sells things: accounts pay orders of products.
var shop = business{
	schema: []string{
		`CREATE TABLE accounts (id int PRIMARY KEY, holder text NOT NULL, balance numeric(12,2) NOT NULL,
			payments int NOT NULL DEFAULT 0, updated_at timestamptz NOT NULL DEFAULT now()) WITH (fillfactor = 85)`,
		"CREATE INDEX accounts_holder ON accounts (holder)",
		"CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL, price numeric(8,2) NOT NULL, stock int NOT NULL)",
		"CREATE SEQUENCE invoice_number START 1000",
		`CREATE TABLE orders (id bigserial PRIMARY KEY, account int NOT NULL, status text NOT NULL DEFAULT 'new',
			invoice bigint, placed_at timestamptz NOT NULL DEFAULT now())`,
		"CREATE INDEX orders_account ON orders (account)",
		"CREATE INDEX orders_open ON orders (placed_at) WHERE status = 'new'",
		"CREATE TABLE order_lines (order_id bigint REFERENCES orders, line int, product int NOT NULL, quantity int NOT NULL, PRIMARY KEY (order_id, line))",
		"CREATE TABLE carts (id bigserial PRIMARY KEY, account int, product int)",
		"INSERT INTO accounts SELECT i, 'holder ' || i % 300, 100 FROM generate_series(1, 3000) i",
		"INSERT INTO products SELECT i, 'product ' || i, i % 90 + 0.99, 1000 FROM generate_series(1, 200) i",
		"INSERT INTO orders (account, status) SELECT i % 3000 + 1, 'paid' FROM generate_series(1, 4000) i",
		"INSERT INTO order_lines SELECT o, l, (o + l) % 200 + 1, 1 FROM generate_series(1, 4000) o, generate_series(1, 2) l",
		"VACUUM (FREEZE, ANALYZE)",
	},
	deal:    shopDeal,
	evening: shopEvening,
	night: func(c *pgtest.Cluster, day int) error {
		return c.TryExec("postgres",
			fmt.Sprintf("INSERT INTO orders (account) SELECT %d + i FROM generate_series(1, 60) i", 100*day),
			"INSERT INTO order_lines SELECT id, 1, id % 200 + 1, 2 FROM orders WHERE status = 'new' ON CONFLICT DO NOTHING",
			"UPDATE orders SET invoice = nextval('invoice_number') WHERE status = 'new' AND invoice IS NULL AND id % 3 = 0")
	},
}

func shopDeal(r *rand.Rand) []string {
	account, product := 1+r.IntN(3000), 1+r.IntN(200)
	switch r.IntN(10) {
	case 0: // a look around that ends in nothing
		return []string{fmt.Sprintf(`BEGIN; INSERT INTO carts (account, product) VALUES (%d, %d);
			UPDATE products SET stock = stock - 1 WHERE id = %d; ROLLBACK`, account, product, product)}
	case 1: // a cancelled order
		return []string{fmt.Sprintf(`BEGIN; SELECT id FROM orders WHERE account = %d AND status = 'new' FOR UPDATE;
			DELETE FROM order_lines USING orders WHERE order_id = id AND account = %d AND status = 'new';
			DELETE FROM orders WHERE account = %d AND status = 'new'; COMMIT`, account, account, account)}
	case 2: // a transfer between two accounts, the lower id first
		other := account%3000 + 1
		return []string{fmt.Sprintf(`BEGIN; UPDATE accounts SET balance = balance - 5, updated_at = now() WHERE id = %d; SAVEPOINT half;
			UPDATE accounts SET balance = balance + 5, updated_at = now() WHERE id = %d; COMMIT`, min(account, other), max(account, other))}
	case 3: // things wait in the cart
		return []string{fmt.Sprintf("INSERT INTO carts (account, product) SELECT %d, i FROM generate_series(1, %d) i", account, 1+r.IntN(20))}
	}
	return []string{fmt.Sprintf(`BEGIN;
		INSERT INTO orders (account, invoice, status) VALUES (%[1]d, nextval('invoice_number'), '%[4]s');
		INSERT INTO order_lines SELECT currval('orders_id_seq'), l, (%[2]d + l) %% 200 + 1, 1 + l %% 3 FROM generate_series(1, %[3]d) l;
		UPDATE products SET stock = stock - 1 WHERE id = %[2]d;
		UPDATE accounts SET balance = balance - 10, payments = payments + 1, updated_at = now() WHERE id = %[1]d; COMMIT`,
		account, product, 1+r.IntN(6), pick(r, "paid", "paid", "shipped", "new"))}
}

func shopEvening(day int) []string {
	report := fmt.Sprintf("sales_%d", day+1)
	return []string{
		"TRUNCATE carts", "VACUUM accounts", "VACUUM orders", "VACUUM products",
		"CREATE TABLE " + report + " AS SELECT product, sum(quantity) AS sold FROM order_lines GROUP BY product",
		"CREATE UNIQUE INDEX " + report + "_product ON " + report + " (product)",
		fmt.Sprintf("DROP TABLE IF EXISTS sales_%d", day),
		"UPDATE orders SET status = 'shipped' WHERE status = 'paid' AND id % 5 = 0",
		"REINDEX INDEX orders_account",
		"ANALYZE",
	}
}
