-- A merge takes parts of about one size: the largest may be an eighth of all. At ClickHouse's own fifth,
-- less for tables of few parts, seven new parts took an old large one with them again and again, which
-- wrote each span of a minute's load once more than it had to.
ALTER TABLE spans$LOCAL $ON_CLUSTER MODIFY SETTING merge_selector_base = 8;
ALTER TABLE span_search$LOCAL $ON_CLUSTER MODIFY SETTING merge_selector_base = 8;
