"""Training: the loop, how negative states are made, the update rule, schedules."""
