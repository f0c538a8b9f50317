"""A whole ReLoop on one machine, for demo, tests, bench and proof alike.

Starts every part by its command line, on free loopback ports, with its data in one folder; stops each
by its process id. Imports nothing of `edge`, `cloud` or `firmware_sim`: what works here works installed.
"""
