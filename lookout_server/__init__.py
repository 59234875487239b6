"""The collector: every protocol in, ClickHouse beneath, Zipkin and Prometheus out."""
