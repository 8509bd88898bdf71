"""Where a gallery is kept: a file (SQLite) or a database (PostgreSQL), behind one protocol."""
