"""From two volumes to one displacement field: the eight steps of a registration."""
