"""Moves the outbox to the cloud over whichever road is open, and documents back. Never deletes a record."""
