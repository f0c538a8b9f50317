"""The cloud: one modular monolith that takes in what gateways signed, credits it and serves people."""
