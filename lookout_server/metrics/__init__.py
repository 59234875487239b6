"""The signal "metrics": series, samples, native histograms, exemplars and metadata."""
