"""Arrays to tiles, tiles to picture files. Knows no model class."""
