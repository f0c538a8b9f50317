"""The quarantine: records that were delivered and could not be applied, until retried or rejected."""
