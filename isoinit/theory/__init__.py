"""Signal-propagation theory of deep networks at initialization (numpy and scipy only).

From small to large: `gaussian`, `activations` and `meanfield` (infinite width, any activation); `factors`, `norm_law`
and `finite_width` (the exact law of a ReLU net's norm), `joint` (two inputs, Hanin's moments), `jacobian` (spectra),
`sample_variance`; `maps` and `families` (one layer, per kind of initializer), `fluctuation` (of a norm with a bias),
`trajectory` (all layers); `response`, `coupled` and `smooth` (all of it for a smooth activation); `setting` (limits),
`theories` (scheme to family), `predict`, and `profile` with its Monte-Carlo twin `simulate`.
"""
