"""Whole jobs built of stages, and the command line."""
