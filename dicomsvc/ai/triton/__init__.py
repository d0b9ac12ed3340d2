"""A Triton server of our own, for machines that have none configured: made ready, started, watched, healed."""
