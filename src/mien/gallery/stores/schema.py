"""The tables of a gallery: one schema in the SQL that SQLite and PostgreSQL share; each says what its types are called.

Numbers of faces come from `gallery.next_face`, so that they are known before the row is written (a sealed vector is
bound to its number) and are never used again. A vector is in `vector` as it is, or in `sealed` encrypted, never both.
"""

from __future__ import annotations

VERSION = 1
"""Of the schema. A gallery of a later one is refused; one of an earlier one goes through `MIGRATIONS`."""

MIGRATIONS: dict[int, tuple[str, ...]] = {}
"""By the version that they start from: the statements that lead to the next one."""

TABLES = (
    """CREATE TABLE gallery (
    one {key} CHECK (one = 1),
    id TEXT NOT NULL,
    embedder TEXT NOT NULL,
    embedder_sha256 TEXT NOT NULL,
    mode TEXT NOT NULL,
    dimension BIGINT NOT NULL,
    metric TEXT NOT NULL,
    created TEXT NOT NULL,
    key_id TEXT,
    keeps_crops SMALLINT NOT NULL,
    revision BIGINT NOT NULL,
    horizon BIGINT NOT NULL,
    next_face BIGINT NOT NULL
)""",
    """CREATE TABLE people (
    number {serial},
    id TEXT NOT NULL UNIQUE,
    name TEXT UNIQUE,
    created TEXT NOT NULL,
    consent TEXT,
    consent_at TEXT,
    expires TEXT
)""",
    """CREATE TABLE faces (
    id {key},
    person BIGINT REFERENCES people (number),
    revision BIGINT NOT NULL,
    vector {vector},
    sealed {blob},
    created TEXT NOT NULL,
    source TEXT,
    source_sha256 TEXT,
    box TEXT,
    landmarks TEXT,
    score DOUBLE PRECISION,
    CHECK ((vector IS NULL) <> (sealed IS NULL))
)""",
    "CREATE INDEX faces_of_person ON faces (person, id)",
    "CREATE INDEX faces_by_revision ON faces (revision)",
    "CREATE INDEX faces_by_source ON faces (source_sha256) WHERE source_sha256 IS NOT NULL",
    """CREATE TABLE crops (
    face {key} REFERENCES faces (id) ON DELETE CASCADE,
    picture {blob} NOT NULL
)""",
    """CREATE TABLE removed (
    face {key},
    revision BIGINT NOT NULL
)""",
    "CREATE INDEX removed_by_revision ON removed (revision)",
    """CREATE TABLE forbidden (
    face BIGINT NOT NULL REFERENCES faces (id) ON DELETE CASCADE,
    person BIGINT NOT NULL REFERENCES people (number) ON DELETE CASCADE,
    PRIMARY KEY (face, person)
)""",
    "CREATE INDEX forbidden_by_person ON forbidden (person)",
    """CREATE TABLE events (
    id {serial},
    at TEXT NOT NULL,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    person TEXT,
    details TEXT NOT NULL
)""",
    "CREATE INDEX events_of_person ON events (person, id)",
    """CREATE TABLE undo (
    id {serial},
    action TEXT NOT NULL,
    at TEXT NOT NULL,
    steps TEXT NOT NULL,
    people TEXT NOT NULL
)""",
)


def statements(types: dict[str, str]) -> list[str]:
    """The statements that make the tables.

    Args:
        types: what the database calls "key" (an integer primary key), "serial" (one that counts by itself and never
            uses a number again), "blob" (bytes) and "vector" (an embedding).
    """
    return [statement.format(**types) for statement in TABLES]
