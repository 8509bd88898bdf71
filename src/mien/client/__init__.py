"""Asks a server what the library would answer, and gives the same types. Extra: `client`."""
