"""The ledger: accounts, immutable transfers between them, and the proof that they add up."""
