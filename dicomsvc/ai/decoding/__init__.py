"""Turns tensors into findings, one decoder for each kind of output, and joins them over tile borders."""
