-- The wide filters of 100 for databases that were made before it had them. They are written with new
-- parts and with merges; parts without them are searched by the narrow ones, as they were. The wide
-- ones stand first because filters are asked in their order.
ALTER TABLE spans$LOCAL $ON_CLUSTER ADD INDEX IF NOT EXISTS tags_high_wide tags_high TYPE bloom_filter(0.01) GRANULARITY 32 FIRST;
ALTER TABLE spans$LOCAL $ON_CLUSTER ADD INDEX IF NOT EXISTS tags_low_wide tags_low TYPE bloom_filter(0.01) GRANULARITY 32 FIRST;
