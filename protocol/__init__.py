"""What gateways and the cloud say to each other: bytes and times in, messages and decisions out.

Pure by contract: no I/O, no clock, no logging, no framework. `SPEC.md` beside this file is the prose.
"""

VERSION = 1
"""Protocol version spoken here; `v` of every frame, ack and document."""
