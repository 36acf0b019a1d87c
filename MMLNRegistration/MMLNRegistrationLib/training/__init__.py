"""Training the network: data, split, preparation, schedule, run folder."""
