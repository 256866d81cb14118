"""LML Live: a real-time seat-inventory and booking server."""

__version__ = "0.1.0"
