"""What the API and the workers agree on: no Flask, no torch."""

__version__ = "0.1.0"
