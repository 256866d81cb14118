"""What reaches outside: engines, files, settings, telemetry."""
