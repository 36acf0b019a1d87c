"""Training: data, pairs, schedule and the run folder."""
