"""Profiling: the einsums of a model, what they cost, and what installing this package saves."""
