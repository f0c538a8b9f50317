"""Tokens: the operator's, made at the first run, and the scopes of every kind of principal."""
