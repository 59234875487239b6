-- Spans as they came, one row each, found by (bucket, fold); see trace_index.
-- Time stands first, in steps of five minutes, then the trace: a trace lies together, a search of a
-- time range reads few granules, and equal values are near each other for the codecs. `part` is the
-- day of the span, or the first day of its year where that is far from the day of receipt: a client
-- with a broken clock makes a partition a year, not one a day.
CREATE TABLE IF NOT EXISTS spans$LOCAL $ON_CLUSTER
(
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    part Date CODEC(ZSTD(1)),
    bucket UInt32 CODEC(ZSTD(1)),           -- five minutes: microseconds / 300e6
    fold UInt32 CODEC(ZSTD(1)),             -- the low trace id folded to 32 bits
    low UInt64 CODEC(ZSTD(1)),
    high UInt64 CODEC(ZSTD(1)),             -- 0: a 64-bit trace id
    ids FixedString(16) CODEC(ZSTD(1)),     -- parent id and span id, little endian: joined, a third smaller
    ts Int64 CODEC(Delta(8), ZSTD(1)),      -- microseconds since 1970; 0: none was reported
    duration Int64 CODEC(T64, ZSTD(1)),     -- microseconds; 0: none was reported
    flags UInt8 CODEC(ZSTD(1)),             -- bits 0-2 kind, 3 shared, 4 has the tag "error", 5 debug
    name LowCardinality(String) CODEC(ZSTD(1)),
    service LowCardinality(String) CODEC(ZSTD(1)),
    address LowCardinality(String) CODEC(ZSTD(1)),  -- local ipv4|ipv6|port
    remote LowCardinality(String) CODEC(ZSTD(1)),   -- ipv4|ipv6|port|service
    annotation_times Array(Int64) CODEC(T64, ZSTD(1)),  -- relative to ts
    annotations Array(LowCardinality(String)) CODEC(ZSTD(1)),
    shape LowCardinality(String) CODEC(ZSTD(1)),    -- tag keys, char(31) between: answers "has tag k"
    tags_low Array(LowCardinality(String)) CODEC(ZSTD(1)),  -- 'key=value', keys with few values
    tags_high Array(String) CODEC(ZSTD(1)),                 -- 'key=value', keys with many values
    $KEEP(spans),
    -- In two stages: a tag is looked for in pieces of 32,768 spans, and within those that may have
    -- it in pieces of 1,024. Where the small filters alone are asked, one in a hundred says yes of a
    -- tag that is not there, and reading these for nothing takes longer than asking.
    INDEX tags_low_wide tags_low TYPE bloom_filter(0.01) GRANULARITY 32,
    INDEX tags_high_wide tags_high TYPE bloom_filter(0.01) GRANULARITY 32,
    INDEX tags_low_index tags_low TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX tags_high_index tags_high TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = $MergeTree
$PARTITION(part)
ORDER BY (tenant, bucket, fold, low, high, ts)
$TTL(spans, addDays(part, 1))
$SETTINGS, index_granularity = 1024;

$DISTRIBUTED(spans, fold);

-- In which five minutes a trace has spans: a trace by id costs two point reads, however much is
-- stored, for half a byte a span (bloom filters on the id cost twice that and a scan of them).
CREATE TABLE IF NOT EXISTS trace_index$LOCAL $ON_CLUSTER
(
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    part Date CODEC(ZSTD(1)),
    fold UInt32 CODEC(ZSTD(1)),
    bucket UInt32 CODEC(ZSTD(1)),
    $KEEP(spans)
)
ENGINE = $ReplacingMergeTree
$PARTITION(part)
ORDER BY (tenant, fold, bucket)
$TTL(spans, addDays(part, 1))
$SETTINGS, index_granularity = 1024;

$DISTRIBUTED(trace_index, fold);

-- Spans by service, name and second, narrow: candidates of a search without reading spans.
CREATE TABLE IF NOT EXISTS span_search$LOCAL $ON_CLUSTER
(
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    part Date CODEC(ZSTD(1)),
    service LowCardinality(String) CODEC(ZSTD(1)),
    name LowCardinality(String) CODEC(ZSTD(1)),
    second UInt32 CODEC(Delta(4), ZSTD(1)),
    duration_step UInt8 CODEC(ZSTD(1)),     -- floor(8 log2(duration + 1)), at most 255
    error UInt8 CODEC(ZSTD(1)),
    remote_service LowCardinality(String) CODEC(ZSTD(1)),
    fold UInt32 CODEC(ZSTD(1)),
    $KEEP(spans),
    INDEX duration_index duration_step TYPE minmax GRANULARITY 4
)
ENGINE = $MergeTree
$PARTITION(part)
ORDER BY (tenant, service, name, second)
$TTL(spans, addDays(part, 1))
$SETTINGS;

$DISTRIBUTED(span_search, fold);

-- Names for the lists to choose from, once a day: `what` is service, span, remote or tag.
CREATE TABLE IF NOT EXISTS span_names$LOCAL $ON_CLUSTER
(
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    part Date CODEC(ZSTD(1)),               -- the day of receipt
    what LowCardinality(String) CODEC(ZSTD(1)),
    service LowCardinality(String) CODEC(ZSTD(1)),  -- of tag: its key
    value String CODEC(ZSTD(1)),
    $KEEP(spans)
)
ENGINE = $ReplacingMergeTree
$PARTITION(part)
ORDER BY (tenant, what, service, value)
$TTL(spans, addDays(part, 1))
$SETTINGS, index_granularity = 1024;

$DISTRIBUTED(span_names, cityHash64(service, value));
