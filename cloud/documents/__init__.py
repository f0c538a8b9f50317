"""Documents: signed snapshots for gateways, versioned and kept: weighings name them by digest."""
