"""What a venue looks like: layouts, their checks, importers, library and publishing."""
