"""Runs a plan: operands, run-time checks, kernels, the one custom gradient."""
