"""Signal-propagation theory of deep networks at initialization (numpy and scipy only).

From small to large: `gaussian`, `activations` and `meanfield` (infinite width, any activation); `factors`, `norm_law`
and `finite_width` (the exact law of a ReLU net's norm), `joint` (two inputs, Hanin's moments), `jacobian` and
`lyapunov` (spectra of wide and of deep nets), `sample_variance`; `maps`, `mirrored` and `families` (one layer, per kind
of initializer), `fluctuation` and `signal_norm` (of a norm with a bias), `trajectory` (all layers); `response`,
`coupled` and `smooth` (all of it for a smooth activation); `setting` (limits), `theories` (scheme to family),
`caveats`, `predict`, and `profile` with its Monte-Carlo twin `simulate`, of `random_nets`.
"""
