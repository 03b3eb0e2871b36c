"""Initializers and signal-propagation theory of deep networks."""
