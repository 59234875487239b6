"""Sending metrics to a collector, in OTLP or in SOFALookout's protocol."""
