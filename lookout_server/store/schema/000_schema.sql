-- Which numbered files of this directory the database has seen. Read before anything is applied.
CREATE TABLE IF NOT EXISTS lookout_schema$LOCAL $ON_CLUSTER
(
    version UInt32,
    name String,
    checksum String,
    applied DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = $ReplacingMergeTree(applied)
ORDER BY version;

$DISTRIBUTED(lookout_schema, rand());
