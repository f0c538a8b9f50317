"""Serial scanners and tag readers: one folder per kind, one driver for all of them."""
