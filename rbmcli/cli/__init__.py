"""The command line: parses, wires, prints; computes nothing."""
