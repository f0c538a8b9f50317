"""The gateway: offline-first agent of one drop point. Meets the cloud only in `protocol`."""
