"""Pure functions, numpy in and out."""
