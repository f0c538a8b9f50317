"""Simulated scales, scanners and people, for development, tests and demonstrations.

Owns physics, wire formats and faults of its own; knows nothing of the drivers that read them.
"""
