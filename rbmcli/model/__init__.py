"""Units, layers, links and the machine made of them. No files, no clock, no printing."""
