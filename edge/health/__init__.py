"""How the gateway is doing: metrics for a collector, a heartbeat for systemd, a status for people."""
