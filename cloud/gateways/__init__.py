"""Gateways: created with a one-time code, claimed or sent out with a bundle, watched, revoked."""
