"""What can be asked of a model: chains, samples, free energy, partition function."""
