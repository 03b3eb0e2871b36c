"""Every bundled spec can be run as it is, and says which question it answers."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps import space
from sweeps.reading import bundled, parse, read
from sweeps.spec import SweepSpec

NAMES = sorted(bundled())


def test_the_specs_that_the_documentation_names_are_there() -> None:
    assert {"quickstart", "depth-limits", "digits-grid", "smoke"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_spec_can_be_run_and_asks_something(name: str) -> None:
    spec = read(name)
    assert spec.name == name, "a spec is called like its file"
    assert spec.question.count("?") == 1
    assert 40 < len(spec.question) < 200
    design = space.build(spec)
    assert design.distributions, "a sweep must sweep something"
    if spec.search.sampler == "grid":
        assert spec.search.trials == len(design.grid()), "a grid is trained as a whole"


def test_no_two_specs_are_the_same_sweep() -> None:
    assert len({read(name).sha256 for name in NAMES}) == len(NAMES)
    assert len({read(name).question for name in NAMES}) == len(NAMES)


def test_the_grid_is_a_map_of_the_quickstart() -> None:
    """The yardstick of the samplers must lie in the space that they search, under the same training."""

    def conditions(spec: SweepSpec) -> dict[str, Any]:
        found = spec.model_dump(exclude={"name", "question", "search", "resources"})
        for axis in ("depth", "bias_variance"):
            del found["space"][axis]["levels"]
        return found

    assert conditions(read("digits-grid")) == conditions(read("quickstart"))
    assert conditions(read("digits-grid", ["training.steps=201"])) != conditions(read("quickstart"))


def test_a_scheme_that_cannot_be_built_would_be_found() -> None:
    with pytest.raises(ValueError, match="ll_orth"):
        space.build(parse("{name: x, network: {architecture: resnet}, space: {scheme: ll_orth, depth: 8, width: 8}}"))
