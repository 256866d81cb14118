"""A client of the live socket: a protocol without I/O, and shells."""
