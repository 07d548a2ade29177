"""Data in and out: sources, batches, the run file. Arrays and names, no model class."""
