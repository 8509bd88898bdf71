"""The version of mien."""

VERSION = "0.1.0"
