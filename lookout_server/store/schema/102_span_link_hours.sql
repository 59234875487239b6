-- The links of an hour's rows of span_links together, once the hour and all that its traces reach
-- have settled: a day of dependencies is some 24 rows here and the few of span_links at its ends.
-- `spans` is the count that the buckets of the hour and of the next had then.
CREATE TABLE IF NOT EXISTS span_link_hours$LOCAL $ON_CLUSTER
(
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    part Date CODEC(ZSTD(1)),
    hour UInt32 CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),          -- Unix ms of the summing
    spans UInt64 CODEC(ZSTD(1)),
    parents Array(LowCardinality(String)) CODEC(ZSTD(1)),
    children Array(LowCardinality(String)) CODEC(ZSTD(1)),
    calls Array(UInt64) CODEC(T64, ZSTD(1)),
    errors Array(UInt64) CODEC(T64, ZSTD(1)),
    $KEEP(spans)
)
ENGINE = $ReplacingMergeTree(version)
$PARTITION(part)
ORDER BY (tenant, hour)
$TTL(spans, addDays(part, 1))
$SETTINGS, index_granularity = 64;

$DISTRIBUTED(span_link_hours, hour);
