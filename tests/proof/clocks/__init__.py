"""Clocks that are wrong at every moment and in every way: nothing is lost, and error bars hold the truth."""
