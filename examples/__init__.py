"""Programs to run and to read: the shop, and the demo that starts it beside a collector."""
