"""What happened: spans, where they belong, and whether they are kept."""
