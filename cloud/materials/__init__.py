"""Materials and what a kilo of each earns: rates are versioned, never changed in place."""
