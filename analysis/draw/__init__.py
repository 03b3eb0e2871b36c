"""Draw what `maps` and `profiles` computed: the only modules that know matplotlib."""
