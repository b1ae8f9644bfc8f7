"""A schema that is always current."""
