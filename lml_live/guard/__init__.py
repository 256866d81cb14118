"""What keeps the server fair and standing: throttles and limits."""
