"""Narrow plain MLPs measured in one compiled call each: what `chain` measures, without its hundreds of small calls. And
calibrated, for the schemes that adapt to data, and walked with, for the sparse ones.

The products are so small that the BLAS (scipy's) takes one thread, and a network is measured by itself, so that what is
found does not depend on company. Compiling takes some seconds, once per machine and change of this package;
`isoinit.probe.probe` does without.

Letters: L hidden layers of `width` units and `wide` features (twice as many with crelu), B inputs, `out` outputs; R =
B + rows of Jacobians, which are the gradients of one output at one of the first inputs each.
"""

from isoinit.narrow.calibration import calibrate, narrow_chain
from isoinit.narrow.measuring import Found, applies, form, measure
from isoinit.narrow.walking import walk

__all__ = ["Found", "applies", "calibrate", "form", "measure", "narrow_chain", "walk"]
