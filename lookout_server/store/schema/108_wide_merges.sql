-- Sixteen parts to a merge, of about one size. With eight each span of a minute's load was written once
-- more, and merging was the largest part of what storing a span cost; a search of the last minutes
-- looks at up to fifteen young parts of each size instead of seven.
ALTER TABLE spans$LOCAL $ON_CLUSTER MODIFY SETTING min_parts_to_merge_at_once = 16;
ALTER TABLE spans$LOCAL $ON_CLUSTER MODIFY SETTING merge_selector_base = 16;
ALTER TABLE span_search$LOCAL $ON_CLUSTER MODIFY SETTING min_parts_to_merge_at_once = 16;
ALTER TABLE span_search$LOCAL $ON_CLUSTER MODIFY SETTING merge_selector_base = 16;
