package wire

import "redoubt/internal/pg"

// DefaultStripe is how many blocks of a relation lie together where nothing
// else is said (DEFAULT_STRIPE_SIZE): 16 MiB.
const DefaultStripe = 2048

// Layout is how a tenant's relation blocks are spread over its shards.
type Layout struct {
	Shards uint8  // 0 and 1: it is not sharded
	Stripe uint32 // blocks; 0 means DefaultStripe
}

// Shard is the number of the shard that has a block. Sizes, SLRUs and the
// init forks of unlogged relations are all on shard 0 (key_to_shard_number).
func (l Layout) Shard(f pg.RelFork, b pg.BlockNumber) int {
	if l.Shards < 2 || f.Fork == pg.InitFork {
		return 0
	}
	stripe := l.Stripe
	if stripe == 0 {
		stripe = DefaultStripe
	}
	h := combine(murmur(uint32(f.Rel)), murmur(uint32(b)/stripe))
	return int(h % uint32(l.Shards))
}

// murmur is the finaliser of MurmurHash3 (murmurhash32 of common/hashfn.h).
func murmur(h uint32) uint32 {
	h = (h ^ h>>16) * 0x85EBCA6B
	h = (h ^ h>>13) * 0xC2B2AE35
	return h ^ h>>16
}

// combine joins two hashes (hash_combine of common/hashfn.h).
func combine(a, b uint32) uint32 {
	return a ^ (b + 0x9E3779B9 + a<<6 + a>>2)
}
