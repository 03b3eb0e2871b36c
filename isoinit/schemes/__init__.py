"""Initialization schemes."""
