-- Retention takes away what was read long ago.
CREATE INDEX segments_by_time ON segments (read_at);
