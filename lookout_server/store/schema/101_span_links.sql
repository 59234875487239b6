-- How many spans each five minutes has, by the writer's count: tells whether links are still true.
CREATE TABLE IF NOT EXISTS span_counts$LOCAL $ON_CLUSTER
(
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    part Date CODEC(ZSTD(1)),
    bucket UInt32 CODEC(ZSTD(1)),
    spans UInt64 CODEC(ZSTD(1)),
    $KEEP(spans)
)
ENGINE = $SummingMergeTree(spans)
$PARTITION(part)
ORDER BY (tenant, bucket)
$TTL(spans, addDays(part, 1))
$SETTINGS, index_granularity = 1024;

$DISTRIBUTED(span_counts, bucket);

-- Dependency links of the traces that began in five minutes, one row: linking again replaces all of
-- it, so a link that is no more needs no trace of its own. `spans` is the count that the buckets
-- up to `reach` further had then.
CREATE TABLE IF NOT EXISTS span_links$LOCAL $ON_CLUSTER
(
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    part Date CODEC(ZSTD(1)),
    bucket UInt32 CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),          -- Unix ms of the linking
    reach UInt8 CODEC(ZSTD(1)),
    spans UInt64 CODEC(ZSTD(1)),
    parents Array(LowCardinality(String)) CODEC(ZSTD(1)),
    children Array(LowCardinality(String)) CODEC(ZSTD(1)),
    calls Array(UInt64) CODEC(T64, ZSTD(1)),
    errors Array(UInt64) CODEC(T64, ZSTD(1)),
    $KEEP(spans)
)
ENGINE = $ReplacingMergeTree(version)
$PARTITION(part)
ORDER BY (tenant, bucket)
$TTL(spans, addDays(part, 1))
$SETTINGS, index_granularity = 64;

$DISTRIBUTED(span_links, bucket);
