"""The cloud forgets, a card is put back, a card is copied: balances come out right, nothing is doubled.

Real Postgres and broker, the cloud's own process, the gateways' own journal, station and sync.
"""
