"""Calls a model: over gRPC on Triton, or in this process where somebody chose so (never silently)."""
