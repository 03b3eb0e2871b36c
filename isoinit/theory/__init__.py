"""Signal-propagation theory of deep networks at initialization (numpy and scipy only)."""
