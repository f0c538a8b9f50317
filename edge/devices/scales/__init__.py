"""Scales: one folder per family of dialects, one driver for all of them."""
