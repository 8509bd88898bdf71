"""Protocols and metrics: how good the answers are, and how fast."""
