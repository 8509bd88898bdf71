"""What the server answers, by subject; each file has a `router`."""
