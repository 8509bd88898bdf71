"""Search among the faces of a gallery: exact and approximate, in memory and in a mapped file."""
