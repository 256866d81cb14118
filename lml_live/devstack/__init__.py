"""Engines, doubles and demonstration data for one machine."""
