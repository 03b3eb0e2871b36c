"""Which theory applies to which scheme: one table, and the sentence that says why where there is none."""

from dataclasses import dataclass
from difflib import get_close_matches

from isoinit.theory import activations
from isoinit.theory.asked import asks, least, one_of, shown
from isoinit.theory.families import KEPT_SAMPLE_VARIANCE

ARCHITECTURES = ("mlp", "cnn", "resnet")
BIAS_MODES = ("zero", "iid", "mirrored")
NORMALIZATIONS = ("none", "batch")
RECTIFIED = ("relu", "leaky_relu", "crelu")  # leaky_relu's slope of 0.01 changes variances by 1e-4 only
EXACT = (*RECTIFIED, "linear")  # known at finite width


@dataclass(frozen=True)
class Theory:
    """Which family of `trajectory` a scheme belongs to, and where that holds.

    sigma_w2        the scheme's own `fan_in * Var(w)` in square hidden layers, for ReLU
    architectures   where there is a theory
    bias_modes      which non-zero biases the theory covers
    residual        family in a ResNet, where it is another one
    own_bias        `fan_in * Var(b)` of biases that the scheme sets by itself
    activation      what the scheme is made for
    note            what the reader should know
    density         what weights left out do: "" none may be, "exact" nothing, for the others are orthogonal, "pruned"
    """

    family: str
    sigma_w2: float
    architectures: tuple[str, ...] = ("mlp", "cnn")
    bias_modes: tuple[str, ...] = ("iid", "mirrored")
    note: str = ""
    residual: str = ""
    own_bias: float = 0.0
    activation: str = "relu"
    density: str = ""


_UNIFORM = "the law of Gaussian weights is used: exact for the means, O(1/width) off in the spread"
_IDENTITY = "the identity up to a constant; whether training leaves it is not predicted"
_CALIBRATED = "norms are set on data: no spread is predicted, though that of the gradient is not zero"
_EOI = "the law of a dense Haar matrix is used; at low density it is not Haar"
_RESIDUAL = "the residual stream reaches the head unchanged; what the branches learn is not predicted"

_GAUSSIAN = Theory("gaussian", 1.0)
_HE = Theory("gaussian", 2.0)
_ORTHOGONAL = Theory("orthogonal", 2.0, note="on a cnn the kernel, not the operator, is orthogonal: a Gaussian net's")
_LL = Theory("mirrored_orthogonal", 2.0)
_SWITCHED_OFF = Theory("still", 1.0, ("resnet",), ("iid", "mirrored"), _RESIDUAL)

THEORIES: dict[str, Theory] = {
    "xavier_normal": _GAUSSIAN,
    "xavier_uniform": Theory("gaussian", 1.0, note=_UNIFORM),
    "xavier_truncated": Theory("gaussian", 1.0, note=_UNIFORM),
    "lecun_normal": _GAUSSIAN,
    "lecun_truncated": Theory("gaussian", 1.0, note=_UNIFORM),
    "he_normal": _HE,
    "he_uniform": Theory("gaussian", 2.0, note=_UNIFORM),
    "he_truncated": Theory("gaussian", 2.0, note=_UNIFORM),
    "kumar": _HE,
    "torch_default": Theory("gaussian", 1 / 3, bias_modes=(), note=_UNIFORM, own_bias=1 / 3),
    "orthogonal": _ORTHOGONAL,
    "delta_orthogonal": Theory("orthogonal", 2.0, note="every position is an MLP of its own"),
    "eoi": Theory("orthogonal", 1.0, note=_EOI, density="exact"),
    "ones_orthogonal": Theory("ones_orthogonal", 1.0, ("mlp",), note="no finite-width spread derived"),
    "ll_gauss": Theory("mirrored_gaussian", 2.0),
    "ll_orth": _LL,
    "ll_eoi": Theory("mirrored_orthogonal", 2.0, density="exact"),
    "ll_crelu": Theory("mirrored_orthogonal", 2.0, note="any bias keeps the net affine", activation="crelu"),
    "he_pruned": Theory("gaussian", 2.0, density="pruned"),
    "orthogonal_pruned": Theory("orthogonal", 2.0, density="pruned"),
    "idinit": Theory(
        "identity", 1.0, ("mlp", "resnet"), (), _IDENTITY, residual="still"
    ),  # on a cnn it shifts the image out of the frame
    "zero": Theory("identity", 1.0, ("mlp", "cnn", "resnet"), (), _IDENTITY),
    "risotto_b": Theory("mirrored_orthogonal", 2.0, ("resnet",), ()),
    "risotto_c": Theory("mirrored_orthogonal", 2.0, ("resnet",), ("mirrored",)),
    "fixup": Theory("identity", 1.0, ("resnet",), (), _RESIDUAL),
    "skipinit": _SWITCHED_OFF,
    "rezero": _SWITCHED_OFF,
    "lsuv": Theory(
        "calibrated", 2.0, bias_modes=(), note="norms are set on data: no spread; that of the gradient is not predicted"
    ),
    "sample_variance": Theory("standardized", KEPT_SAMPLE_VARIANCE, bias_modes=(), note=_CALIBRATED),
    "sample_variance_scale": Theory("kept_variance", KEPT_SAMPLE_VARIANCE, bias_modes=(), note=_CALIBRATED),
}


def get(scheme: str) -> Theory:
    """The theory of a scheme; ValueError with the nearest name and all others if there is none."""
    if isinstance(scheme, str) and scheme in THEORIES:
        return THEORIES[scheme]
    raise ValueError(_unknown(scheme))


def _unknown(scheme: str) -> str:
    near = get_close_matches(str(scheme), THEORIES, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"scheme must be one the theory knows, but got {shown(scheme)}; {hint}known: {', '.join(THEORIES)}"


@asks(
    architecture=one_of(ARCHITECTURES),
    normalization=one_of(NORMALIZATIONS),
    sigma_b2=least(0),
    bias_mode=one_of(BIAS_MODES),
)
def no_theory(
    scheme: str,
    *,
    architecture: str = "mlp",
    activation: str = "relu",
    normalization: str = "none",
    sigma_b2: float = 0.0,
    bias_mode: str = "zero",
) -> str:
    """Why there is no prediction for this combination, in one sentence; "" if there is one.

    ValueError for any other word that is unknown, with the names that are known; a scheme without a line in `THEORIES`
    is one that was added without a theory, and so is an activation without a record.
    """
    if not isinstance(scheme, str) or scheme not in THEORIES:
        return _unknown(scheme)
    theory = THEORIES[scheme]
    plain = theory.family in ("gaussian", "orthogonal")
    if architecture not in theory.architectures:
        able = " and ".join(theory.architectures)
        return f"{scheme} has a theory for {able} only: its maps on a {architecture} are not derived"
    if not isinstance(activation, str) or activation not in (*activations.ACTIVATIONS, "crelu"):
        return activations.unknown(activation)
    if scheme == "kumar" and activation in ("leaky_relu", "selu"):
        return f"kumar needs an activation differentiable at 0, and {activation} is not"
    if theory.activation == "crelu" and activation != "crelu":
        return f"{scheme} is made for crelu, which mirrors by itself, not for {activation}"
    if activation not in ("relu", "leaky_relu") and not (plain or (scheme, activation) == ("ll_crelu", "crelu")):
        return f"{scheme} has a theory for relu only, not for {activation}"
    if activation == "crelu" and scheme != "ll_crelu":
        return f"the law of a crelu layer is derived for ll_crelu only, not for {scheme}"
    if sigma_b2 > 0 and bias_mode not in theory.bias_modes:
        return f"{scheme} has a theory for zero bias only: what a bias adds to it is not derived"
    if normalization != "none" and not (plain or theory.family.startswith("mirrored")):
        return f"{scheme} has no theory under {normalization} normalization"
    return ""


def has_theory(scheme: str, **combination: object) -> bool:
    """Whether `predict` accepts the combination; the arguments are those of `no_theory`."""
    return not no_theory(scheme, **combination)  # pyright: ignore[reportArgumentType]


def prunes(scheme: str, architecture: str, activation: str, normalization: str) -> bool:
    """Whether the theory of the combination depends on the density."""
    derived = architecture == "mlp" and normalization == "none" and activation in EXACT
    return derived and get(scheme).density == "pruned"


def sharpens(architecture: str, normalization: str) -> bool:
    """Whether the theory of the combination tells what a learning rate does."""
    return architecture == "mlp" and normalization == "none"


def refuse_density(scheme: str, density: float, architecture: str, width: int) -> None:
    """ValueError with the sparse schemes if a dense one is to leave weights out, or if a unit would keep no input."""
    if density != 1 and not get(scheme).density:
        able = ", ".join(name for name, theory in THEORIES.items() if theory.density)
        raise ValueError(f"density must be 1 for {scheme}, which is dense, but got {density}; sparse schemes: {able}")
    most = max(1, width // 2 if get(scheme).family.startswith("mirrored") else width)
    if architecture == "mlp" and density * most < 1:
        raise ValueError(f"density must be at least 1/{most} for {scheme} of width {width}, but got {density}")
