"""The MMLN network: pyramid levels, training-only branches, losses, checkpoints."""
