"""Helpers that kill, cut off and replay writers of run files."""
