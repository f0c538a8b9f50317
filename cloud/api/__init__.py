"""The HTTP API: one app factory over the modules' endpoints; owns nothing of the domain."""
