-- A merge takes eight parts or more of the tables that grow by every span. Left to itself ClickHouse
-- merges three or four when they are small, and writes each span once more on its way to a large part:
-- merging was the largest part of what storing a span cost.
ALTER TABLE spans$LOCAL $ON_CLUSTER MODIFY SETTING min_parts_to_merge_at_once = 8;
ALTER TABLE span_search$LOCAL $ON_CLUSTER MODIFY SETTING min_parts_to_merge_at_once = 8;
