-- No statistics of columns: ClickHouse makes them of every part it inserts or merges unless told not to,
-- counting the distinct values of twenty columns, which was a tenth of what storing a span cost. They
-- are for choosing the order of joins and filters; ours are few and written in the order they need.
ALTER TABLE spans$LOCAL $ON_CLUSTER MODIFY SETTING auto_statistics_types = '';
ALTER TABLE trace_index$LOCAL $ON_CLUSTER MODIFY SETTING auto_statistics_types = '';
ALTER TABLE span_search$LOCAL $ON_CLUSTER MODIFY SETTING auto_statistics_types = '';
ALTER TABLE span_names$LOCAL $ON_CLUSTER MODIFY SETTING auto_statistics_types = '';
ALTER TABLE span_counts$LOCAL $ON_CLUSTER MODIFY SETTING auto_statistics_types = '';
