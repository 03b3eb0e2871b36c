"""What a map shows, asserted on the computed tuples and never on pixels; the made-up sweep's true limits are known."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import exports
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from analysis import summary, tables
from analysis.draw.agreement import agreement_figure
from analysis.draw.axes import (
    Along,
    depth_ticks,
    edges_around,
    span_ticks,
    theory_shown,
    theory_span,
    theory_text,
    value_ticks,
)
from analysis.draw.canvas import ENTRY, canvas, entry, file_names, head, legend_columns, meaning, panel_title, save
from analysis.draw.limits import CYCLE, MARKERS, SCHEME, frontier_figure, stroke
from analysis.draw.region import MARK, SHOWN, draw_map, map_figure
from analysis.frontier import Band
from analysis.mapinfo import Abscissa, MapInfo, Marks, Panel, cells, censoring, limits
from analysis.maps import region_map, scheme_limits, trains_again
from analysis.store import Export


@pytest.fixture(scope="module")
def trials() -> pa.Table:
    return exports.tables(200)[0]


@pytest.fixture(scope="module")
def info(trials: pa.Table) -> MapInfo:
    return region_map(trials, criterion="train_accuracy>=0.8")


@pytest.fixture(scope="module")
def wide() -> pa.Table:
    return exports.tables(160, widths=(32, 64, 128))[0]


def _put(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


def _replace(table: pa.Table, name: str, values: list) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values, table.schema.field(name).type))


def test_decimals_of_a_database_are_numbers(trials: pa.Table) -> None:
    """They ended in a TypeError of numpy, which has no powers of them."""
    exact = trials.filter(pc.field("outcome") != "failed").slice(0, 60)
    column = exact["bias_variance"].cast(pa.decimal128(38, 20))
    kept = _put(exact, "bias_variance", column.cast(pa.float64()))
    exact = _put(exact, "bias_variance", column)
    assert scheme_limits(exact).equals(scheme_limits(kept))
    assert region_map(exact).x.values.dtype == float


@pytest.mark.parametrize(
    ("name", "kind"),
    [("depth", pa.string()), ("depth", pa.timestamp("s")), ("bias_variance", pa.bool_()), ("n_trained", pa.string())],
    ids=str,
)
def test_an_axis_of_names_or_dates_is_refused(trials: pa.Table, name: str, kind: pa.DataType) -> None:
    """A model was made of "10" and of 1970-01-01, and then the map of it ended in a traceback."""
    values = trials[name].cast(pa.int64(), safe=False).cast(kind)
    with pytest.raises(ValueError, match=re.escape(f"{name} must be a column of numbers, but is one of {kind}; ")):
        region_map(_put(trials, name, values))


def test_a_map_has_a_title_though_its_trials_know_no_sweep(trials: pa.Table) -> None:
    """It ended in a TypeError, and the page of such an export was called None."""
    trials = trials.slice(0, 20)
    names = trials["sweep"].to_pylist()
    assert region_map(_replace(trials, "sweep", [None, *names[1:]])).sweep == "made-up"
    for sweep in (None, ""):
        unnamed = _replace(trials, "sweep", [sweep] * len(names))
        assert region_map(unnamed).sweep == "unnamed"
        assert summary.name(Export((), unnamed, exports.tables(2)[1], {}, None, None, common=True)) == "unnamed"


@pytest.mark.parametrize(("value", "says"), [("converged", "but got 'converged'$"), (None, "but got '' for null$")])
def test_no_map_leaves_out_the_marks_of_outcomes_it_does_not_know(
    trials: pa.Table, value: str | None, says: str
) -> None:
    """A map of another tool's words had no marks at all, beside `200 trials`."""
    others = _replace(trials, "outcome", [value, *trials["outcome"].to_pylist()[1:]])
    for make in (region_map, scheme_limits):
        with pytest.raises(ValueError, match=f"must be one of trained, slow, .*, failed, {says}"):
            make(others)


def test_a_panel_per_scheme_in_order_of_reach(info: MapInfo) -> None:
    assert info.schemes == ("xavier_normal", "he_normal", "orthogonal", "ll_orth")
    assert info.slices == ("",)
    assert info.n_trials == 195  # 5 of the 200 failed
    assert sum(len(p.marks.depth) for p in info.panels) == 195


def test_zero_bias_variance_is_a_column_of_its_own(info: MapInfo) -> None:
    assert info.x.name == "bias_variance"
    assert info.x.zero
    assert info.x.values[0] == 0 < info.x.values[1]
    at_zero = sum(int(p.n_trials[:, 0].sum()) for p in info.panels)
    assert at_zero == sum((p.marks.x == 0).sum() for p in info.panels) > 0


def test_frontier_finds_the_limits_that_were_put_in(info: MapInfo) -> None:
    for panel in info.panels:
        truth = np.array([exports.true_limit(panel.scheme, x) for x in info.x.values])
        inside = (panel.frontier.low <= truth * 1.1) & (truth <= panel.frontier.high * 1.1)
        assert inside.mean() > 0.8, panel.scheme
        assert np.median(np.abs(np.log(panel.frontier.median / truth))) < 0.25, panel.scheme
        assert (panel.frontier.low <= panel.frontier.median).all()
        assert (panel.frontier.median <= panel.frontier.high).all()


def test_states_follow_from_probabilities_and_deep_is_out(info: MapInfo) -> None:
    for panel in info.panels:
        assert panel.p_in_region.shape == (len(info.depths), len(info.x.values))
        assert ((panel.state == "in") == (panel.p_in_region >= 0.95)).all()
        assert ((panel.state == "out") == (panel.p_in_region <= 0.05)).all()
        shallow, deep = panel.p_in_region[0, 1:], panel.p_in_region[-1, 1:]
        assert (shallow > deep).all()


def test_cells_are_one_row_each_and_hold_every_trial(info: MapInfo) -> None:
    table = cells(info)
    assert len(table) == len(info.panels) * len(info.depths) * len(info.x.values)
    assert sum(table["n_trials"].to_pylist()) == info.n_trials
    assert set(table["state"].to_pylist()) <= {"in", "out", "undecided"}
    row = table.filter((pc.field("scheme") == "ll_orth") & (pc.field("n_trials") > 0)).to_pylist()[0]
    ll_orth = next(p for p in info.panels if p.scheme == "ll_orth")
    place = list(info.depths).index(row["depth"]), list(info.x.values).index(row["bias_variance"])
    assert row["p_in_region"] == ll_orth.p_in_region[place]


def test_a_trial_counts_in_the_cell_it_lies_in(info: MapInfo) -> None:
    for panel in info.panels:
        for depth, x in zip(panel.marks.depth, panel.marks.x, strict=True):
            row = np.abs(np.log(info.depths / depth)).argmin()
            column = 0 if x == 0 else 1 + np.abs(np.log(info.x.values[1:] / x)).argmin()
            assert panel.n_trials[row, column] > 0


def test_limits_table_repeats_the_panels(info: MapInfo) -> None:
    table = limits(info)
    assert len(table) == len(info.panels) * len(info.x.values)
    assert table["depth_limit"].to_pylist() == np.concatenate([p.frontier.median for p in info.panels]).tolist()
    assert {"low", "high", "censored", "predicted", "bias_variance", "width"} <= set(table.column_names)


def test_censored_limits_are_told() -> None:
    depths = np.array([2, 10, 100])
    assert censoring(np.array([2.0, 10.0, 99.9, 100.0]), depths).tolist() == ["below", "no", "above", "above"]


def test_a_limit_among_depths_that_are_nearly_one_is_at_the_nearer_end() -> None:
    """All of them were `above`, though nothing trained at 199."""
    limits = np.array([199.0, 199.4, 200.6, 201.0, np.nan])
    assert censoring(limits, np.array([199, 201])).tolist() == ["below", "below", "above", "above", "no"]
    assert censoring(np.array([6.9, 7.0, 7.1]), np.array([7])).tolist() == ["below", "above", "above"]


def test_theory_lies_beside(info: MapInfo) -> None:
    predicted = {p.scheme: p.predicted for p in info.panels}
    assert predicted["xavier_normal"][0] < predicted["he_normal"][0] < predicted["ll_orth"][0]
    unknown = region_map(_replace(exports.tables(40)[0], "scheme", ["nobody_knows"] * 40))
    assert np.isnan(unknown.panels[0].predicted).all()
    assert "nobody_knows" in unknown.panels[0].why_no_theory


@pytest.mark.slow
def test_widths_become_rows_of_panels(wide: pa.Table) -> None:
    info = region_map(wide)
    assert info.slices == ("width 32", "width 64", "width 128")
    assert len(info.panels) == 12
    per_width = [np.mean([p.frontier.median.mean() for p in info.panels if p.slice == text]) for text in info.slices]
    assert all(a < b for a, b in pairwise(per_width))
    assert {p.fixed["width"] for p in info.panels} == {32, 64, 128}


@pytest.mark.slow
def test_many_widths_are_cut_at_three_and_no_trial_is_lost() -> None:
    trials = exports.tables(120, widths=tuple(range(16, 129, 8)))[0]
    info = region_map(trials)
    assert len(info.slices) == 3
    assert all("width ≈ " in text for text in info.slices)
    assert sum(len(p.marks.depth) for p in info.panels) == info.n_trials


def test_dense_networks_beside_many_densities_stay_dense() -> None:
    """They had a slice of density 0.69, of which theory knew nothing."""
    trials = exports.tables(120)[0]
    sparse = [s in ("orthogonal", "ll_orth") for s in trials["scheme"].to_pylist()]
    densities = np.where(sparse, np.geomspace(0.1, 0.97, len(trials)), 1.0)
    named = [{"orthogonal": "eoi", "ll_orth": "ll_eoi"}.get(s, s) for s in trials["scheme"].to_pylist()]
    info = region_map(_replace(_replace(trials, "scheme", named), "density", densities.tolist()))
    assert [text for text in info.slices if "≈" not in text] == ["density 1"]
    for panel in info.panels:
        assert (panel.fixed["density"] == 1) == (panel.scheme in ("he_normal", "xavier_normal"))
        assert np.isfinite(panel.predicted).all() or "no limit" in theory_text(panel.predicted[0], info.depths)
    assert sum(len(p.marks.depth) for p in info.panels) == info.n_trials


def test_the_squares_of_great_depths_are_no_negative_numbers() -> None:
    np.testing.assert_allclose(edges_around(np.array([2, 10, 50_000], np.int32))[-1], 50_000**2 / np.sqrt(500_000))
    np.testing.assert_allclose(edges_around(np.array([1, 4, 16])), [0.5, 2, 8, 32])


@pytest.mark.parametrize("draw", [map_figure, frontier_figure, agreement_figure])
def test_a_name_is_drawn_as_it_is_written(info: MapInfo, tmp_path: Path, draw: Callable[[MapInfo], Figure]) -> None:
    """Two dollar signs were mathematics, or a command's end; a letter that the type lacks was a warning a file."""
    panels = tuple(p._replace(slice="a $\\foo$ slice") for p in info.panels[:2])
    figure = draw(info._replace(sweep="cost $5 and $\\foo_6, 深さ", panels=panels))
    save(figure, tmp_path / "figure")
    title = figure.texts[0]
    assert title.get_text().endswith("cost \\$5 and \\$\\foo_6, 深さ"), "as matplotlib wants it"


def test_a_long_text_beside_a_row_is_no_longer_than_the_row(info: MapInfo) -> None:
    text = "mlp, width ≈ 44, mirrored biases, density ≈ 0.69"
    figure = map_figure(info._replace(panels=tuple(p._replace(slice=text) for p in info.panels)))
    assert figure.axes[0].get_ylabel().splitlines()[:-1] == ["mlp, width ≈ 44, mirrored", "biases, density ≈ 0.69"]
    assert panel_title(text).splitlines() == ["mlp, width ≈ 44, mirrored biases, density ≈", "0.69"], (
        "nor above a panel"
    )


def test_abscissa_is_the_first_axis_that_varies_or_the_one_asked_for(wide: pa.Table) -> None:
    constant = _replace(wide, "bias_variance", [0.0] * len(wide))
    info = region_map(constant)
    assert (info.x.name, info.x.values.tolist(), info.x.levels) == ("width", [32, 64, 128], True)
    assert region_map(wide, abscissa="width").x.name == "width"
    single = region_map(_replace(constant, "width", [64] * len(wide)))
    assert single.x.values.tolist() == [0.0]
    with pytest.raises(ValueError, match="abscissa of a map must be one of bias_variance"):
        region_map(wide, abscissa="depth")


def test_one_depth_has_no_frontier(trials: pa.Table) -> None:
    with pytest.raises(ValueError, match="more than one depth, but all 195 have depth 7"):
        region_map(_replace(trials, "depth", [7] * len(trials)))
    with pytest.raises(ValueError, match=r"more than one depth, but the only one has depth 7$"):
        region_map(_replace(trials.slice(0, 1), "depth", [7]))


def test_scheme_limits_are_the_ends_of_the_map(trials: pa.Table, info: MapInfo) -> None:
    quick, ends = scheme_limits(trials), info.x.values[[0, -1]].tolist()
    assert list(dict.fromkeys(quick["scheme"].to_pylist())) == list(info.schemes)
    assert quick["bias_variance"].to_pylist() == ends * 4
    quick = quick.filter(pc.field("bias_variance") == 0)
    full = limits(info).filter(pc.field("bias_variance") == 0)
    assert quick.sort_by("scheme")["low"].to_pylist() == pytest.approx(full.sort_by("scheme")["low"].to_pylist())


def test_figures_are_written_the_same_twice(tmp_path: Path) -> None:
    trials = exports.tables(24)[0]
    info = region_map(trials.filter(pc.field("scheme") == "he_normal"))
    first, second = (draw_map(info, tmp_path / "made" / name / "map") for name in ("a", "b"))
    assert [p.name for p in first] == ["map.png", "map.svg"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_a_name_of_a_scheme_is_no_path(tmp_path: Path, info: MapInfo) -> None:
    """`mine/wide` was drawn into a folder `map-mine`, and `x/../../y` beside the folder that was asked for."""
    names = ["a/b", "a b", "x/../../y", "schéma"]
    panels = tuple(p._replace(scheme=name) for p, name in zip(info.panels, names, strict=True))
    written = draw_map(info._replace(panels=panels), tmp_path / "out" / "map")
    assert {p.parent for p in written} == {tmp_path / "out"}
    assert {p.name for p in written if p.suffix == ".svg"} == {
        "map.svg", "map-a_b.svg", "map-a_b-1.svg", "map-x_.._.._y.svg", "map-schéma.svg",
    }  # fmt: skip
    assert all(p.is_file() for p in written)


def test_a_figure_is_laid_out_once_and_drawn_once_a_file(
    info: MapInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matplotlib draws one that has a layout twice for every file, the first time to lay it out."""
    done = []
    for owner, name in ((ConstrainedLayoutEngine, "execute"), (Figure, "draw")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, real=real, name=name: done.append(name) or real(*given))
    save(map_figure(info), tmp_path / "figure", pdf=True)
    assert done == ["execute", "draw", "draw", "draw"]


@pytest.mark.parametrize("name", ["", " ", "深さ", "_mine", "a\nb"])
@pytest.mark.parametrize("draw", [map_figure, frontier_figure, agreement_figure])
def test_a_scheme_of_an_odd_name_is_drawn(
    info: MapInfo, tmp_path: Path, draw: Callable[[MapInfo], Figure], name: str
) -> None:
    """The legend measured a name without letters, which ended in an AttributeError of matplotlib."""
    panels = (info.panels[0]._replace(scheme=name), info.panels[1])
    assert all(path.is_file() for path in save(draw(info._replace(panels=panels)), tmp_path / "figure"))


def test_no_two_schemes_share_a_file_whatever_their_order() -> None:
    """`a b` after `a_b-2` and `a_b` got the file of the first."""
    names = ["a_b-1", "a_b", "a b", "a/b", "c", "C"]
    found = dict(zip(names, file_names(names), strict=True))
    assert len({name.casefold() for name in found.values()}) == len(names), "two would be one on a Mac"
    assert (found["a_b-1"], found["a_b"]) == ("a_b-1", "a_b"), "what is a name of a file stays"
    assert found == dict(zip(names[::-1], file_names(names[::-1]), strict=True))


def test_levels_of_long_values_do_not_run_into_each_other(info: MapInfo) -> None:
    """0.000145846 beside 0.000251189, below a panel of a hand's width."""
    for count in (3, 8):
        x = info.x._replace(values=np.geomspace(1.45846e-4, 0.5, count), levels=True)
        cut = {name: getattr(info.panels[0], name)[..., :count] for name in ("p_in_region", "state", "n_trials")}
        panel = info.panels[0]._replace(**cut, predicted=info.panels[0].predicted[:count])
        panel = panel._replace(frontier=type(panel.frontier)(*(v[:count] for v in panel.frontier)))
        made = info._replace(x=x, panels=(panel._replace(trains_again=panel.trains_again[:count]),))
        for figure in (map_figure(made), frontier_figure(made)):
            figure.draw_without_rendering()
            labels = figure.axes[0].get_xticklabels()
            assert labels[0].get_text() == "0.000146"
            assert all((label.get_rotation() > 0) is (count == 8) for label in labels)
            if count == 3:
                boxes = [label.get_window_extent() for label in labels]
                assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    powers = map_figure(_by_hand(Abscissa("bias_variance", np.geomspace(1e-12, 1, 13), levels=False), "he_normal"))
    labels = powers.axes[0].get_xticklabels()
    assert (len(labels), {label.get_rotation() for label in labels}) == (5, {0})


def test_every_scheme_also_has_a_figure_of_its_own(tmp_path: Path) -> None:
    info = region_map(exports.tables(24)[0].filter(pc.field("scheme").isin(["he_normal", "ll_orth"])))
    names = {p.name for p in draw_map(info, tmp_path / "map")}
    assert names == {f"map{s}.{kind}" for s in ("", "-he_normal", "-ll_orth") for kind in ("png", "svg")}
    for scheme in ("he_normal", "ll_orth"):
        assert f"made-up, {scheme} -->" in (tmp_path / f"map-{scheme}.svg").read_text(), "a title for its panels alone"


def _columns(trains: Callable[[int, float], bool], axis: str, values: Sequence[float]) -> pa.Table:
    """A trial at each of 16 depths and each value of `axis`, which trains as it is told."""
    points = [(d, v) for v in values for d in np.geomspace(2, 60, 16).round().astype(int).tolist()]
    table = _replace(exports.tables(len(points))[0], "depth", [d for d, _ in points])
    for name, value in (("scheme", "orthogonal"), ("role", "grid"), ("outcome", "slow"), ("bias_variance", 0.0)):
        table = _replace(table, name, [value] * len(points))
    table = _replace(table, axis, [v for _, v in points])
    table = _replace(table, "n_replicates", [4] * len(points))
    return _replace(table, "n_trained", [4 * trains(d, v) for d, v in points])


def test_a_column_that_trains_again_beyond_its_limit_says_where() -> None:
    """Shallow sparse networks fail and deep ones train: the first exit is at once, and it is not the whole story."""
    table = limits(region_map(_columns(lambda d, v: v == 1.0 or d >= 12, "density", [0.1, 1.0]))).to_pylist()
    sparse, dense = table
    assert (sparse["density"], sparse["censored"]) == (0.1, "below")
    assert 8 <= sparse["trains_again_at"] <= 26
    assert (dense["censored"], dense["trains_again_at"]) == ("above", None)


def test_training_again_is_beyond_the_limit_and_sure() -> None:
    depths = np.array([2, 4, 8, 16])
    p = np.array([[1.0, 0.1, 0.1, 0.0], [0.9, 0.94, 0.96, 1.0], [0.1, 0.94, 0.97, 0.0], [0.0, 0.9, 0.5, 0.0]])
    found = trains_again(p, np.array([5.0, 2.0, 2.0, 4.0]), depths)
    np.testing.assert_array_equal(found, [np.nan, np.nan, 4, np.nan])


def test_both_ends_of_a_band_are_censored() -> None:
    table = limits(region_map(_columns(lambda d, v: d < 9 or v == 1.0, "density", [0.1, 1.0]))).to_pylist()
    assert [row["censored_low"] for row in table] == ["no", "above"]
    assert [row["censored_high"] for row in table] == ["no", "above"]


@pytest.mark.parametrize(
    ("axis", "values", "at", "few", "words"),
    [
        ("density", [0.1, 0.5, 1.0], 1.0, [0.1, 1.0], "at the smallest and the largest density (0.1 and 1)"),
        ("width", [16, 32, 64], 64, [16, 64], "at the smallest and the largest width (16 and 64)"),
        ("weight_scale", [0.25, 0.5, 0.9, 4.0], 0.9, [0.25, 0.9, 4.0],
         "at the smallest weight scale, that nearest 1 and the largest (0.25, 0.9 and 4)"),
        ("bias_variance", [0.01, 0.1], 0.01, [0.01, 0.1],
         "at the smallest and the largest bias variance (0.01 and 0.1)"),
        ("bias_variance", [0.1], 0.1, [0.1], "at bias variance 0.1"),
        ("bias_variance", [0.0], 0.0, [0.0], "without biases"),
    ],
)  # fmt: skip
def test_limits_stand_where_they_say_what_the_axis_does(
    axis: str, values: list[float], at: float, few: list[float], words: str
) -> None:
    """At the largest density alone, a sweep of densities ended without a word of what sparsity does."""
    trials = _columns(lambda d, _: d < 9, axis, values)
    found = scheme_limits(trials)
    assert found[axis].to_pylist() == few
    assert (axis.replace("_", " ") in tables.limit_rows(found)[0]) == (len(few) > 1)
    x = region_map(trials).x
    assert x.values[x.headline] == at
    assert tables.headline(found) == words


@pytest.mark.slow
def test_a_continuum_is_the_abscissa_before_a_list_of_levels() -> None:
    """Cut at three weight scales, a sweep over them showed no frontier along the axis that it asks about."""
    scales = np.geomspace(0.25, 4.0, 12).tolist()
    made = [_columns(lambda d, _: d < 9, "weight_scale", scales) for _ in range(2)]
    both = [_replace(t, "bias_variance", [v] * len(t)) for t, v in zip(made, (0.0, 0.05), strict=True)]
    info = region_map(pa.concat_tables(both))
    assert (info.x.name, info.slices) == ("weight_scale", ("bias variance 0", "bias variance 0.05"))
    few = pa.concat_tables(t.filter(pc.field("weight_scale").isin([scales[0], scales[-1]])) for t in both)
    assert region_map(few).x.name == "bias_variance"


@pytest.mark.parametrize(
    ("least", "where"),
    [
        (0.0, "without biases and at the largest bias variance (1)"),
        (0.01, "at the smallest and the largest bias variance (0.01 and 1)"),
    ],
)
def test_bias_modes_are_compared_where_they_differ(least: float, where: str) -> None:
    """At the smallest bias variance alone, a sweep of bias modes ended with the same limits under two names."""
    made = [_columns(lambda d, _, far=far: d < far, "bias_variance", [least, 1.0]) for far in (9, 40)]
    both = [_replace(t, "bias_mode", [mode] * len(t)) for mode, t in zip(("iid", "mirrored"), made, strict=True)]
    found = scheme_limits(pa.concat_tables(both))
    names = list(zip(found["bias_mode"].to_pylist(), found["bias_variance"].to_pylist(), strict=True))
    first = [("zero", 0.0)] if not least else [("iid", least), ("mirrored", least)]
    assert sorted(names, key=lambda name: name[1]) == [*first, ("iid", 1.0), ("mirrored", 1.0)]
    assert tables.headline(found) == where
    one = scheme_limits(pa.concat_tables(t.filter(pc.field("bias_variance") == 1.0) for t in both))
    assert one["bias_mode"].to_pylist() == ["iid", "mirrored"]


def test_columns_of_many_widths_are_whole_numbers() -> None:
    x = region_map(_columns(lambda d, _: d < 9, "width", range(6, 33, 2))).x
    assert not x.levels
    assert np.issubdtype(x.values.dtype, np.integer)
    assert (np.diff(x.values) > 0).all()
    assert x.values[[0, -1]].tolist() == [6, 32]


def test_a_tiny_bias_variance_is_not_zero() -> None:
    info = region_map(_columns(lambda d, _: d < 9, "bias_variance", [0.0, 1e-10, 1e-2]))
    assert info.panels[0].n_trials.sum(axis=0).tolist() == [16, 16, 16]


@pytest.mark.parametrize(
    ("name", "levels", "said"),
    [("width", [64, 128], "at $N$ = 128"), ("density", [0.5, 0.996], "at $d$ = 0.996")],
)
def test_a_panel_says_of_which_column_its_numbers_are(name: str, levels: list, said: str) -> None:
    """They were 1.3e+02, and 1 where the table beside it said 0.996."""
    figure = map_figure(region_map(_columns(lambda d, _: d < 9, name, levels)))
    assert [t.get_text().split(":")[0] for t in figure.axes[0].texts] == [said]


def test_a_band_that_is_the_limit_is_not_told_twice() -> None:
    """`depth limit < 2, trains again at 13 (< 2)` ran into the words of the next panel."""
    info = region_map(_columns(lambda d, _: d >= 12, "density", [0.5, 1.0]))
    (told,) = [t.get_text().split("\n")[0] for t in map_figure(info).axes[0].texts]
    assert re.fullmatch(r"at \$d\$ = 1: depth limit < 2, trains again at \d+", told)


def test_slices_of_a_normalization_say_that_they_are_of_one() -> None:
    """`mlp, none` said of nothing that it is none."""
    trials = exports.tables(60)[0]
    kinds = ["none" if i % 2 else "batch" for i in range(len(trials))]
    assert region_map(_replace(trials, "normalization", kinds)).slices == ("batch normalization", "no normalization")


def test_ticks_are_round_numbers() -> None:
    for low, high, labels in (
        (0.3, 4.0, ["0.5", "1", "2"]),
        (1e-4, 1e-2, ["$10^{-4}$", "$10^{-3}$", "$10^{-2}$"]),
        (1.2e-4, 9e-3, ["0.0002", "0.0005", "0.001", "0.002", "0.005"]),
        (6.0, 32.0, ["10", "20"]),
        (0.81, 0.98, ["0.85", "0.9", "0.95"]),
        (0.9, 1.6, ["1", "1.2", "1.4", "1.6"]),
        (1e-12, 1.0, ["$10^{-12}$", "$10^{-9}$", "$10^{-6}$", "$10^{-3}$", "$10^{0}$"]),
    ):
        at, text = value_ticks(low, high)
        assert text == labels
        assert all(np.log10(low) - 1e-5 <= a <= np.log10(high) + 1e-5 for a in at)


def test_a_theory_that_is_not_seen_is_told(info: MapInfo) -> None:
    assert [theory_text(v, np.array([2, 50])) for v in (np.nan, np.inf, 999.0, 9.0, 0.1)] == [
        "no theory", "theory: no limit", "theory: 999, above", "theory: 9", "theory: 0, below"
    ]  # fmt: skip
    shown = theory_shown(np.array([np.nan, np.inf, 999.0, 9.0, 0.1]), np.array([2, 50]))
    assert shown.tolist() == [False, False, False, True, False]
    never = info._replace(panels=tuple(p._replace(predicted=np.full_like(p.predicted, np.inf)) for p in info.panels))
    once = info._replace(panels=(never.panels[0], info.panels[1], *never.panels[2:]))
    for made, drawn in ((once, True), (never, False)):
        figure = map_figure(made)
        labels = [t.get_text() for t in figure.legends[0].texts]
        assert (f"depth limit by theory{info.at_rate}" in labels) is drawn
        assert any("theory: no limit" in t.get_text() for axis in figure.axes for t in axis.texts)
        assert any("dashed: theory" in t.get_text() for t in frontier_figure(made).texts) is drawn
    (told,) = [t.get_text() for t in frontier_figure(never).axes[0].texts]
    assert frontier_figure(never).get_figheight() > frontier_figure(info).get_figheight(), "with room for what is told"
    mute = never.panels[0]._replace(slice="b")
    apart = frontier_figure(info._replace(panels=(info.panels[0]._replace(slice="a"), mute)))
    said = [[t.get_text() for t in axis.texts if t.get_text()] for axis in apart.axes]
    assert said == [[], [f"theory: no limit ({mute.scheme})"]]
    assert told.replace("\n", " ") == f"theory: no limit ({', '.join(info.schemes)})"


def test_a_theory_that_is_not_seen_is_told_of_all_columns(info: MapInfo) -> None:
    """That of the first alone stood beside the map's headline, which is of another: 237 here, and 94 there."""
    depths = np.geomspace(2, 50, 20)
    for predicted, told in (
        ([237.0, 94.0, 292.0], "theory: 94 to 292, above"),
        ([182.0, np.inf], "theory: 182, above, to no limit"),
        ([1.0, 90.0], "theory: 1, below, to 90, above"),
        ([np.nan, 94.0, 94.2], "theory: 94, above"),
        ([np.nan, np.nan], "no theory"),
    ):
        assert theory_span(np.array(predicted), depths) == told
    far = np.geomspace(200, 400, len(info.x.values))
    above = info._replace(panels=tuple(p._replace(predicted=far) for p in info.panels))
    (told,) = [t.get_text() for t in frontier_figure(above).axes[0].texts if t.get_text()]
    assert told.startswith("theory: 200 to 400, above (")


def test_a_panel_says_of_which_schemes_it_has_no_point_for_want_of_a_theory(info: MapInfo) -> None:
    """It was empty, below a legend with arrows that nowhere were."""
    shallow = np.full_like(info.panels[0].predicted, info.depths[0])
    band = info.panels[0].frontier._replace(median=shallow, low=shallow, high=shallow)
    mute = info.panels[0]._replace(frontier=band, predicted=np.full_like(shallow, np.nan), slice="resnet")
    both = info._replace(panels=(info.panels[0]._replace(slice="mlp"), mute))
    figure = agreement_figure(both)
    told = [[t.get_text().strip() for t in axis.texts if t.get_text()] for axis in figure.axes]
    assert told == [[], ["no theory"]]
    words = [
        [t.get_text() for t in agreement_figure(of).legends[0].texts] for of in (both, both._replace(panels=(mute,)))
    ]
    assert [any("predicted by theory" in word for word in some) for some in words] == [True, False]


def test_lines_that_coincide_are_told_apart(info: MapInfo) -> None:
    """Twelve schemes with the same three limits: no two share colour, marker and face, nor the place of a marker."""
    panels = tuple(info.panels[0]._replace(scheme=f"scheme_{k}") for k in range(12))
    figure = frontier_figure(info._replace(panels=panels))
    entries = figure.legends[0].get_lines()
    looks = {(str(e.get_color()), str(e.get_marker()), str(e.get_markerfacecolor())) for e in entries}
    assert len(looks) == 12
    marks = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    places = np.concatenate([np.asarray(line.get_xdata()) for line in marks])
    assert len(np.unique(places.round(9))) == len(places) > 12


def test_a_marker_lies_on_the_line_where_the_line_has_a_gap(info: MapInfo) -> None:
    """It hung between the ends on both sides of the columns that train again."""
    panel = info.panels[0]
    limit = np.where(np.arange(len(info.x.values)) < 14, 3.0, 60.0)
    edges = Along(info.x).edges
    middles = edges[0] + (np.arange(MARKERS) + 0.5) / MARKERS * np.ptp(edges)
    columns = np.append(np.searchsorted(edges, middles), 0)  # the first is of no biases
    for start in range(10, 14):
        again = np.where((np.arange(len(limit)) >= start) & (limit < 60), 70.0, np.nan)
        made = panel._replace(frontier=panel.frontier._replace(median=limit), trains_again=again)
        axis = frontier_figure(info._replace(panels=(made,))).axes[0]
        marks = [np.asarray(line.get_ydata()) for line in axis.lines if line.get_marker() != "None"]
        expected = limit[columns][np.isnan(again[columns])]
        assert sorted(np.concatenate(marks).round(9)) == sorted(expected), start


def test_bands_of_very_many_schemes_are_bars(info: MapInfo) -> None:
    """Twenty of them upon each other were mud."""
    for count, filled in ((6, True), (7, False)):
        panels = tuple(info.panels[0]._replace(scheme=f"scheme_{k}") for k in range(count))
        figure = frontier_figure(info._replace(panels=panels))
        kinds = [type(c) for c in figure.axes[0].collections]
        assert (LineCollection not in kinds) is filled
        assert any(issubclass(kind, PolyCollection) for kind in kinds) is filled
        assert any("90 % band (bars)" in t.get_text() for t in figure.texts) is not filled
    levels = frontier_figure(_by_hand(_WIDTHS, *(f"scheme_{k}" for k in range(7)))).axes[0]
    assert not any(isinstance(c, LineCollection) for c in levels.collections), "each has a place of its own"


@pytest.mark.parametrize("draw", [map_figure, frontier_figure, agreement_figure])
def test_every_figure_says_how_many_trials_it_rests_on(info: MapInfo, draw: Callable[[MapInfo], Figure]) -> None:
    assert _says(draw(info), "195 trials; ")
    assert any("train accuracy ≥ 0.8" in t.get_text().replace("\N{NO-BREAK SPACE}", " ") for t in draw(info).texts)
    assert _says(draw(info._replace(n_trials=1)), "1 trial; ")


def _says(figure: Figure, words: str) -> bool:
    return any(t.get_text().startswith(words) for t in figure.texts)


def _limit_lines(axis: Axes) -> list[Line2D]:
    return [line for line in axis.lines if line.get_linewidth() == 2.2 and line.get_linestyle() == "-"]


def test_schemes_at_one_level_do_not_hide_each_other() -> None:
    """Over the one column of a sweep without an abscissa all bands were one, and the last line hid the others."""
    both = [_columns(lambda d, _: d < 9, "bias_variance", [0.0]) for _ in range(2)]
    both = [_replace(t, "scheme", [s] * len(t)) for s, t in zip(("he_normal", "orthogonal"), both, strict=True)]
    axis = frontier_figure(region_map(pa.concat_tables(both))).axes[0]
    spans = sorted((np.nanmin(x), np.nanmax(x)) for x in (np.asarray(line.get_xdata()) for line in _limit_lines(axis)))
    assert len(spans) == 2
    assert spans[0][1] < spans[1][0]


def test_no_figure_draws_a_frontier_where_deeper_networks_train_again() -> None:
    """The frontier figure said that sparse networks fail at once, beside a map that showed them train."""
    info = region_map(_columns(lambda d, v: v == 1.0 or d >= 12, "density", [0.1, 1.0]))
    assert info.broken
    for draw in (map_figure, frontier_figure, agreement_figure):
        figure = draw(info)
        assert any("where deeper networks train again" in t.get_text().replace("\n", " ") for t in figure.texts)
    heights = [np.asarray(line.get_ydata()) for line in _limit_lines(frontier_figure(info).axes[0])]
    assert np.nanmin(heights) > 50, "of the dense column alone"
    whole = region_map(_columns(lambda d, _: d < 9, "density", [0.1, 1.0]))
    assert not whole.broken
    assert not any("train again" in t.get_text() for t in frontier_figure(whole).texts)


def test_a_caption_says_of_what_a_criterion_is_within() -> None:
    for criterion, said in (
        ("train_accuracy>=0.9 within 100 at learning rate 0.1", "accuracy_≥_0.9 within 100_steps at learning rate 0.1"),
        ("train_loss<=0.1", "loss_≤_0.1"),
    ):
        assert meaning(criterion) == f"; trained means train {said}".replace("_", "\N{NO-BREAK SPACE}")
    assert meaning("") == ""


@pytest.mark.parametrize("draw", [map_figure, frontier_figure, agreement_figure])
@pytest.mark.parametrize("columns", [slice(0, 1), slice(None)], ids=["zero", "all"])
def test_panels_keep_their_place_where_no_column_has_a_frontier(
    info: MapInfo, draw: Callable[[MapInfo], Figure], columns: slice
) -> None:
    """Markers of nothing lay at the corner of the page, and of a figure of two rows the panels shrank to strips."""

    def broken(panel: Panel) -> Panel:
        again = panel.trains_again.copy()
        again[columns] = 90
        return panel._replace(trains_again=again, slice="density 0.1")

    panels = tuple(p._replace(slice="density 1") for p in info.panels)
    for some in (info, info._replace(panels=(*map(broken, info.panels), *panels))):
        figure = draw(some)
        figure.draw_without_rendering()
        pages = [axis.get_tightbbox() for axis in figure.axes if axis.get_visible()]
        assert all(box.y0 > 0.05 * figure.dpi and box.x0 >= 0 for box in pages if box is not None)


@pytest.mark.parametrize("draw", [map_figure, frontier_figure, agreement_figure])
def test_the_names_of_several_sweeps_stay_on_the_page(info: MapInfo, draw: Callable[[MapInfo], Figure]) -> None:
    names = "depth-limits-of-my-network, depth-limits-of-your-network, WIDE-LIMITS-OF-OUR-NETWORK"
    figure = draw(info._replace(sweep=names, panels=info.panels[:2]))
    figure.draw_without_rendering()
    title, subtitle = (text.get_window_extent() for text in figure.texts[:2])
    assert names in figure.texts[0].get_text().replace("\n", " ")
    assert title.x1 < figure.bbox.x1
    assert subtitle.y1 < title.y0
    assert all(axis.title.get_window_extent().y1 < subtitle.y0 for axis in figure.axes)


def test_a_long_subtitle_stays_on_the_page_and_a_legend_has_even_rows() -> None:
    figure, _ = canvas(1, 1, wide=3.9, high=3.4)
    head(figure, "a title", "so many words " * 12)
    figure.draw_without_rendering()
    page = figure.bbox.x1
    assert all(text.get_window_extent().x1 < page for text in figure.texts)
    short, long = (
        [Line2D([], [], label=text)] * 5 for text in ("he_normal", "my own scheme of many words (no theory)")
    )
    assert [legend_columns(figure, short[:n]) for n in (2, 3, 4, 5)] == [2, 3, 4, 3]
    assert [legend_columns(figure, long[:n]) for n in (1, 2, 5)] == [1, 1, 1]


@pytest.mark.parametrize("draw", [map_figure, frontier_figure, agreement_figure])
def test_long_names_in_a_legend_stay_on_the_page(info: MapInfo, draw: Callable[[MapInfo], Figure]) -> None:
    """Four columns of them were cut off at both sides."""
    panels = tuple(p._replace(scheme=f"{p.scheme}_of_a_longer_name_$x$_{k}") for k in range(2) for p in info.panels)
    figure = draw(info._replace(panels=panels))
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1


@pytest.mark.slow
def test_up_to_eight_levels_of_an_axis_have_a_slice_each_unless_all_are_too_many() -> None:
    widths = [8, 16, 24, 32, 48, 64]
    made = [_replace(_columns(lambda d, _: d < 9, "width", widths), "bias_mode", ["iid"] * 96) for _ in range(3)]
    both = [_replace(t, "bias_variance", [v] * 96) for t, v in zip(made, (0.01, 0.1, 1.0), strict=True)]
    info = region_map(pa.concat_tables(both))
    assert (info.x.name, info.slices) == ("bias_variance", tuple(f"width {w}" for w in widths))
    scaled = [_replace(t, "weight_scale", [v] * 288) for v in (0.5, 1.0, 2.0) for t in [pa.concat_tables(both)]]
    assert len(region_map(pa.concat_tables(scaled)).slices) == 9, "three of six widths at three scales"


def _with_limits(info: MapInfo, limit: float, predicted: float) -> MapInfo:
    """One scheme with these limits in every column."""
    panel = info.panels[0]
    same = np.full_like(panel.predicted, limit)
    band = panel.frontier._replace(median=same, low=same, high=same)
    return info._replace(panels=(panel._replace(frontier=band, predicted=np.full_like(same, predicted)),))


@pytest.mark.parametrize(("place", "arrow"), [(-1, "$\\uparrow$"), (0, "$\\downarrow$")])
def test_a_limit_at_an_end_of_the_depths_is_no_measured_one(info: MapInfo, place: int, arrow: str) -> None:
    made = _with_limits(info, float(info.depths[place]), 20.0)
    across = {"$\\uparrow$": "$\\rightarrow$", "$\\downarrow$": "$\\leftarrow$"}[arrow]
    for figure, along, marker in ((frontier_figure(made), 1, arrow), (agreement_figure(made), 0, across)):
        entry = figure.legends[0].get_lines()[-1]
        assert (entry.get_label(), entry.get_marker()) == ("beyond the depths tried", marker)
        arrows = [t for t in figure.axes[0].texts if isinstance(t, Annotation) and t.arrow_patch]
        tips = [t.get_position()[along] for t in arrows]
        assert tips
        assert {t.xy[along] for t in arrows} == {info.depths[place]}
        assert all((tip > 0) is (place == -1) for tip in tips)
    inside = _with_limits(info, 20.0, 20.0)
    for figure in (frontier_figure(inside), agreement_figure(inside)):
        assert "beyond the depths tried" not in [t.get_text() for t in figure.legends[0].texts]


def test_arrows_beyond_the_depths_cross_no_words_and_the_legend_has_both(info: MapInfo) -> None:
    deep = _with_limits(info, float(info.depths[-1]), np.inf).panels[0]
    shallow = _with_limits(info, float(info.depths[0]), np.inf).panels[0]._replace(scheme="other")
    figure = frontier_figure(info._replace(panels=(deep, shallow)))
    figure.draw_without_rendering()
    (told,) = [t for t in figure.axes[0].texts if t.get_text()]
    arrows = [t.arrow_patch for t in figure.axes[0].texts if isinstance(t, Annotation) and t.arrow_patch]
    assert arrows
    assert not any(arrow.get_window_extent().overlaps(told.get_window_extent()) for arrow in arrows)
    assert figure.legends[0].get_lines()[-1].get_marker() == "$\\updownarrow$"


def test_arrows_above_a_panel_without_a_title_do_not_touch_the_subtitle(info: MapInfo) -> None:
    figure = frontier_figure(_with_limits(info, float(info.depths[-1]), 20.0))
    figure.draw_without_rendering()
    tips = [t for t in figure.axes[0].texts if isinstance(t, Annotation) and t.arrow_patch]
    top = max(t.arrow_patch.get_window_extent().y1 for t in tips if t.arrow_patch)
    assert min(t.get_window_extent().y0 for t in figure.texts) > top + 0.1 * figure.dpi


def test_a_theory_that_is_right_is_seen_upon_the_line(info: MapInfo) -> None:
    """It was dashed in the colour of the line on which it lay."""
    axis = frontier_figure(_with_limits(info, 20.0, 20.0)).axes[0]
    dashed = [line for line in axis.lines if line.get_linewidth() == 1.2]
    assert len(dashed) == 2
    assert all(line.get_path_effects() for line in dashed)


def test_no_prediction_is_lost_beside_the_axis(info: MapInfo) -> None:
    shallow = info._replace(depths=info.depths[info.depths >= 10])
    left, right = agreement_figure(_with_limits(shallow, 20.0, 3.0)).axes[0].get_xlim()
    assert left < 3 * 0.97 < 20 < right
    figure = agreement_figure(_with_limits(info, 20.0, np.inf))
    (axis,) = figure.axes
    figure.draw_without_rendering()
    at = dict(zip((t.get_text() for t in axis.get_xticklabels()), axis.get_xticks(), strict=True))
    assert info.depths[-1] < at["no limit"] < axis.get_xlim()[1]
    assert any(set(np.asarray(line.get_xdata())) == {at["no limit"]} for line in axis.lines if line.get_marker() == "|")


def test_marks_of_very_many_trials_leave_the_map_to_be_seen(info: MapInfo) -> None:
    panel = info.panels[0]
    marks = type(panel.marks)(*(np.resize(values, SHOWN + 300) for values in panel.marks))
    figure = map_figure(info._replace(panels=(panel._replace(marks=marks),)))
    assert sum(len(np.asarray(c.get_offsets())) for c in figure.axes[0].collections if c.get_zorder() == 4) == SHOWN
    assert any(f"of each panel {SHOWN} are drawn" in t.get_text() for t in figure.texts)


@pytest.mark.parametrize("draw", [frontier_figure, agreement_figure])
def test_many_slices_are_wrapped_into_rows(info: MapInfo, draw: Callable[[MapInfo], Figure]) -> None:
    panels = tuple(info.panels[0]._replace(slice=f"slice {i}") for i in range(8))
    figure = draw(info._replace(panels=panels))
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in shown] == [f"slice {i}" for i in range(8)]
    assert [bool(axis.get_ylabel()) for axis in shown] == [i % 3 == 0 for i in range(8)]
    assert [bool(axis.get_xlabel()) for axis in shown] == [i >= 5 for i in range(8)]
    assert figure.get_figwidth() < 14


@pytest.mark.slow
def test_the_limits_of_every_width_are_told_apart_in_a_comparison(wide: pa.Table) -> None:
    """On one panel they were dots of one colour."""
    info = region_map(wide)
    figure = agreement_figure(info)
    assert [axis.get_title(loc="left") for axis in figure.axes] == list(info.slices) == [
        "width 32", "width 64", "width 128",
    ]  # fmt: skip
    for axis, text in zip(figure.axes, info.slices, strict=True):
        drawn = [np.asarray(c.lines[0].get_xdata()) for c in axis.containers if isinstance(c, ErrorbarContainer)]
        mine = [p.frontier.median[[0, 9, 18, 27, 36]] for p in info.panels if p.slice == text]
        np.testing.assert_array_equal(np.concatenate(drawn), np.concatenate(mine))
    assert len({axis.get_xlim() for axis in figure.axes}) == 1  # a limit is read down


@pytest.mark.parametrize("count", [1, 4, 12, 30])
def test_no_two_limits_of_a_comparison_share_a_row(info: MapInfo, count: int) -> None:
    """Where theory does not depend on the biases, points of one prediction lay upon each other."""
    panels = tuple(info.panels[0]._replace(scheme=f"scheme_{k}") for k in range(count))
    figure = agreement_figure(info._replace(panels=panels))
    axis = figure.axes[0]
    drawn = [np.asarray(c.lines[0].get_ydata()) for c in axis.containers if isinstance(c, ErrorbarContainer)]
    rows = np.sort(np.concatenate(drawn))
    assert len(rows) == count * (5 if count < 12 else 2), "of very many only the ends"
    figure.draw_without_rendering()
    inch = np.abs(axis.transData.transform(np.column_stack([np.full(len(rows), 10.0), rows]))[:, 1]) / figure.dpi
    assert len(drawn) == count
    assert np.abs(np.diff(inch)).min() > 0.1
    words = [t.get_window_extent() for t in axis.get_yticklabels()]
    assert not any(a.overlaps(b) for i, a in enumerate(words) for b in words[:i])


def test_a_scheme_that_a_slice_lacks_is_told_in_a_comparison(info: MapInfo) -> None:
    panels = (info.panels[0]._replace(slice="a"), info.panels[1]._replace(slice="b"))
    figure = agreement_figure(info._replace(panels=panels))
    told = [[t for t in axis.texts if t.get_text()] for axis in figure.axes]
    assert [[t.get_text().strip() for t in some] for some in told] == [["not tried"]] * 2
    assert all(t.get_bbox_patch() for some in told for t in some), "or lines of the panel cross it"


def test_ticks_of_depths_fit_side_by_side() -> None:
    assert span_ticks(2.0, 100.0)[1] == ["2", "5", "10", "20", "50", "100"]
    assert span_ticks(2.0, 1e4)[1] == ["10", "100", "1000", "10000"]
    assert span_ticks(2.0, 1e9)[1][-1] == "$10^{8}$"
    assert span_ticks(21.0, 40.0)[1] == ["21"]
    assert span_ticks(5e4, 6e5)[1] == ["50000", "$10^{5}$", r"$2\times10^{5}$", r"$5\times10^{5}$"], "5e5 was 10^6"


def _by_hand(x: Abscissa, *schemes: str, slices: Sequence[str] = ("",)) -> MapInfo:
    """Limits of 10, 11, ... from column to column in bands of 0.8 to 1.5 times that, and a theory of 1.2 times."""
    depths, limit = np.array([2, 10, 50]), 10.0 + np.arange(len(x.values))
    p = np.linspace(0.9, 0.1, 3)[:, None] - 0.01 * np.arange(len(x.values))
    none = Marks(*(np.empty(0) for _ in Marks._fields))
    panels = tuple(
        Panel(scheme, {}, text, p, np.full(p.shape, "undecided"), np.arange(p.size).reshape(p.shape),
              Band(limit, 0.8 * limit, 1.5 * limit), 1.2 * limit, "", none, np.full(len(limit), np.nan))
        for text in slices for scheme in schemes
    )  # fmt: skip
    return MapInfo("made", "", depths, x, panels, 16)


_WIDTHS = Abscissa("width", np.array([32, 64]), levels=True)
_BIASES = Abscissa("bias_variance", np.array([0.0, 0.001, 0.01, 0.1, 1.0]), levels=False)


def test_tables_of_a_map_have_every_number_in_its_own_cell() -> None:
    info = _by_hand(_WIDTHS, "he_normal")
    states = np.array([["in", "in"], ["undecided", "in"], ["out", "undecided"]])
    told = info._replace(panels=(info.panels[0]._replace(state=states),))
    found = cells(told).select(["depth", "width", "n_trials", "state"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        (2, 32, 0, "in"), (2, 64, 1, "in"), (10, 32, 2, "undecided"), (10, 64, 3, "in"), (50, 32, 4, "out"),
        (50, 64, 5, "undecided"),
    ]  # fmt: skip
    assert cells(told)["p_in_region"].to_pylist() == pytest.approx([0.9, 0.89, 0.5, 0.49, 0.1, 0.09])
    band = info.panels[0].frontier._replace(low=np.array([2.0, 8.8]), high=np.array([15.0, 50.0]))
    rows = limits(info._replace(panels=(info.panels[0]._replace(frontier=band),))).to_pylist()
    ends = [tuple(row[name] for name in ("depth_limit", "low", "high", "predicted")) for row in rows]
    assert ends == [pytest.approx((10, 2, 15, 12)), pytest.approx((11, 8.8, 50, 13.2))]
    cut = [tuple(row[name] for name in ("censored", "censored_low", "censored_high")) for row in rows]
    assert cut == [("no", "below", "no"), ("no", "no", "above")]


def test_a_comparison_has_each_band_about_its_limit_and_the_schemes_that_reach_far_first() -> None:
    info = _by_hand(_WIDTHS, "he_normal", "ll_orth")
    first = info.panels[0]._replace(trains_again=np.array([np.nan, 50.0]))
    figure = agreement_figure(info._replace(panels=(first, info.panels[1])))
    (axis,) = figure.axes
    figure.draw_without_rendering()
    assert any("deeper networks train again" in t.get_text().replace("\n", " ") for t in figure.texts)
    bars = [c.lines[2][0].get_segments() for c in axis.containers if isinstance(c, ErrorbarContainer)]
    ends = [[tuple(segment[:, 0]) for segment in some] for some in bars]
    assert ends == [[pytest.approx((8, 15))], [pytest.approx((8, 15)), pytest.approx((8.8, 16.5))]]
    assert [t.get_text().strip() for t in axis.texts if t.get_text()] == ["trains again deeper"], "which has no limit"
    names = sorted(axis.get_yticklabels(), key=lambda label: -label.get_window_extent().y0)
    assert [t.get_text() for t in names] == ["ll_orth", "32", "64", "he_normal", "32", "64"]
    theory = [np.asarray(line.get_xdata()) for line in axis.lines if line.get_marker() == "|"]
    np.testing.assert_allclose(theory, [[12, 13.2]] * 2)


def test_a_name_of_a_hundred_letters_leaves_room_for_the_figure() -> None:
    """Its beginning and its end are shown; whole, matplotlib gave up on the layout."""
    long = f"begin_{'very_' * 20}_long_end"
    info = _by_hand(_WIDTHS, long, "he_normal")
    rows, lines = agreement_figure(info), frontier_figure(info)
    for figure in (rows, lines):
        figure.draw_without_rendering()
        assert figure.axes[0].get_position().width > 0.4
    shown = "begin_very_very_very…very_very__long_end"
    labels = (
        [t.get_text() for t in rows.axes[0].get_yticklabels()],
        [t.get_text() for t in lines.legends[0].get_texts()],
    )
    for found in labels:
        assert {shown, "he_normal"} <= set(found)
    assert entry(long[:ENTRY]) == long[:ENTRY]


def test_a_comparison_says_of_which_columns_its_rows_are() -> None:
    one = _by_hand(_WIDTHS._replace(values=np.array([64])), "he_normal")
    assert any("at width $N$ = 64" in t.get_text() for t in agreement_figure(one).texts)
    assert agreement_figure(one).axes[0].get_ylabel() == "scheme"
    many = _by_hand(_WIDTHS._replace(values=2 ** np.arange(3, 11)), *(f"scheme_{k}" for k in range(8)))
    figure = agreement_figure(many)
    assert any("a row per width $N$, 2 of its 8 values" in t.get_text() for t in figure.texts)
    assert figure.axes[0].get_ylabel() == "width $N$"
    assert {t.get_text() for t in figure.axes[0].get_yticklabels()} == {*many.schemes, "8", "1024"}
    theory = [np.asarray(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "|"]
    np.testing.assert_allclose(theory, [[12, 20.4]] * 8)


@pytest.mark.parametrize(
    ("rates", "said"),
    [((), ""), (("0.1",), " at learning rate 0.1"), (("0.1", "0.03"), " at learning rates 0.1 and 0.03"),
     (("0.01 to 0.1",), " at learning rates 0.01 to 0.1"), (("0.1", ""), " at learning rate 0.1 (sgd alone)")],
)  # fmt: skip
def test_a_legend_says_at_which_learning_rates_theory_is(rates: tuple[str, ...], said: str) -> None:
    assert _by_hand(_WIDTHS, "he_normal")._replace(rates=rates).at_rate == said


def test_a_scheme_has_one_look_in_all_figures_and_none_shares_it() -> None:
    names = [f"scheme_{k:02d}" for k in range(2 * len(SCHEME) + 1)]
    info, other = _by_hand(_WIDTHS, *names), _by_hand(_WIDTHS, *reversed(names))
    looks = [stroke(info, name) for name in names]
    assert looks == [stroke(other, name) for name in names], "panels are in the order of their limits"
    assert [looks[i * len(SCHEME)]["ls"] for i in range(3)] == list(CYCLE), "a line has no face to be hollow"


@pytest.mark.parametrize("count", [1, 7])
def test_a_frontier_and_its_band_are_drawn_at_their_limits(count: int) -> None:
    info = _by_hand(_BIASES, *(f"scheme_{k}" for k in range(count)))
    axis = frontier_figure(info).axes[0]
    if count == 1:
        bands = [np.concatenate([np.asarray(p.vertices)[:, 1] for p in c.get_paths()]) for c in axis.collections]
        assert [(band.min(), band.max()) for band in bands] == [pytest.approx((8, 15)), pytest.approx((8.8, 21))]
        lines = [np.asarray(line.get_data()) for line in _limit_lines(axis)]
        assert [heights.tolist() for _, heights in lines] == [[10] * 3, [11, 11, 12, 13, 14, 14]]
        places, heights = next(np.asarray(line.get_data()) for line in axis.lines[::-1] if line.get_marker() == "o")
        np.testing.assert_allclose(np.log(heights), np.interp(places, lines[1][0], np.log(lines[1][1])))
        theory = [np.asarray(line.get_ydata()) for line in axis.lines if line.get_linewidth() == 1.2]
        assert [row[-1] for row in theory] == pytest.approx([12, 16.8])
        assert axis.get_xlim() == Along(_BIASES).limits()
        assert axis.get_ylim() == tuple(edges_around(info.depths)[[0, -1]])
    else:
        bars = [s[:, 1] for c in axis.collections if isinstance(c, LineCollection) for s in c.get_segments()]
        assert len(bars) == count * (1 + MARKERS)
        np.testing.assert_allclose([high / low for low, high in bars], 1.5 / 0.8)


def test_a_zero_is_a_column_apart_at_the_left() -> None:
    along = Along(_BIASES)
    assert along.zero is not None
    np.testing.assert_allclose(along.edges, [-3.5, -2.5, -1.5, -0.5, 0.5])
    at, text = along.ticks()
    assert (at[0], text[0]) == (along.zero, "0")
    (own, first), (edges, rest) = along.blocks(np.arange(5.0))
    assert (first.tolist(), rest.tolist()) == ([0], [1, 2, 3, 4])
    assert along.limits() == (own[0], edges[-1])
    assert own[0] < along.zero < own[1] < edges[0]
    marks = along.marks(np.array([0.0, 0.0, 0.1, 0.0]))
    assert marks[2] == -1
    zeros = marks[[0, 1, 3]]
    assert len(set(zeros)) == 3, "or they hide each other"
    assert own[0] < zeros.min() < zeros.max() < own[1]


def test_marks_at_a_level_are_spread_over_its_column() -> None:
    marks = Along(_WIDTHS).marks(np.array([64, 32, 64, 64]))
    assert marks.round().tolist() == [1, 0, 1, 1]
    assert len(set(marks)) == 4


def test_ticks_of_many_depths_are_round_and_of_few_all() -> None:
    assert depth_ticks(np.array([3, 7, 11, 19, 23, 41])) == [3, 7, 11, 19, 23, 41]
    assert depth_ticks(np.arange(3, 60)) == [5, 10, 20, 50]
    assert depth_ticks(np.arange(61, 91)) == [61, 90]


def test_a_map_shows_each_trial_at_its_place_and_how_many_of_its_seeds_trained() -> None:
    outcomes = np.array(["trained", "slow", "trained"], object)
    marks = Marks(np.array([2, 50, 10]), np.array([32, 64, 64]), np.array([1.0, 0.0, 0.5]), outcomes)
    info = _by_hand(_WIDTHS, "he_normal")
    figure = map_figure(info._replace(panels=(info.panels[0]._replace(marks=marks),)))
    drawn = [
        c for c in figure.axes[0].collections if isinstance(c, PathCollection) and len(np.asarray(c.get_offsets()))
    ]
    assert [np.asarray(c.get_offsets())[:, 1].tolist() for c in drawn] == [[2, 10], [50]]
    assert [np.asarray(c.get_offsets())[:, 0].round().tolist() for c in drawn] == [[0, 1], [1]]
    blue = np.array(to_rgb(MARK["trained"][1]))
    np.testing.assert_allclose(np.asarray(drawn[0].get_facecolor())[:, :3], [blue, (blue + 1) / 2])
    np.testing.assert_allclose(np.asarray(drawn[1].get_facecolor())[:, :3], [[1, 1, 1]])
    entries = figure.legends[0].get_lines()
    assert [entry.get_label() for entry in entries][:2] == ["trained", "slow"], "of those there are alone"
    assert [str(entry.get_markerfacecolor()) for entry in entries][:2] == [MARK["trained"][1], "white"]
    assert not {"stalled", "vanished", "diverged"} & {str(entry.get_label()) for entry in entries}
    (mesh,) = [c for c in figure.axes[0].collections if isinstance(c, QuadMesh)]
    assert mesh.get_clim() == (0, 1)
    np.testing.assert_array_equal(np.asarray(mesh.get_array()), info.panels[0].p_in_region)


def test_a_panel_tells_the_numbers_of_its_headline_column() -> None:
    info = _by_hand(_WIDTHS, "he_normal")
    band = Band(np.array([10.0, 11.0]), np.array([8.0, 2.0]), np.array([50.0, 16.0]))
    panel = info.panels[0]._replace(frontier=band, trains_again=np.array([50.0, np.nan]))
    (axis, *_) = map_figure(info._replace(panels=(panel,))).axes
    assert [t.get_text() for t in axis.texts] == ["at $N$ = 64: depth limit 11 (< 2 to 16)\ntheory: 13"]
    assert Abscissa("weight_scale", np.array([0.6, 1.5]), levels=True).headline == 1, "the nearest on a log scale"


def test_a_map_draws_no_line_beside_its_band_and_none_where_networks_train_again() -> None:
    info = _by_hand(_BIASES, "he_normal")
    panel = info.panels[0]._replace(trains_again=np.array([np.nan] * 4 + [50.0]))
    axis = map_figure(info._replace(panels=(panel,))).axes[0]
    medians = [np.asarray(line.get_ydata()) for line in axis.lines if line.get_linewidth() == 2.0]
    assert [np.nanmax(median) for median in medians] == [10, 13]
    theory = [np.asarray(line.get_ydata()) for line in axis.lines if line.get_linewidth() == 1.7]
    assert [row[-1] for row in theory] == pytest.approx([12, 16.8])
    bands = [c for c in axis.collections if isinstance(c, PolyCollection) and c.get_zorder() == 2]
    heights = [np.concatenate([np.asarray(path.vertices)[:, 1] for path in c.get_paths()]) for c in bands]
    assert [(h.min(), h.max()) for h in heights] == [pytest.approx((8, 15)), pytest.approx((8.8, 19.5))]
    assert axis.get_xlim() == Along(_BIASES).limits(), "with the zero"


def test_a_grid_of_panels_is_even_and_every_column_ends_with_its_labels() -> None:
    figure = map_figure(_by_hand(_WIDTHS, *(f"scheme_{k}" for k in range(5))))
    shown = [axis for axis in figure.axes[:-1] if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in shown] == [f"scheme_{k}" for k in range(5)]
    assert [bool(axis.get_xlabel()) for axis in shown] == [False, False, True, True, True]
    assert [bool(axis.get_ylabel()) for axis in shown] == [True, False, False, True, False]
    assert [bool(axis.get_xticklabels()) for axis in shown] == [False, False, True, True, True]
    assert [bool(axis.get_yticklabels()) for axis in shown] == [True, False, False, True, False]
    assert not any(len(axis.yaxis.get_minorticklocs()) for axis in shown), "which matplotlib would label"


def test_slices_are_rows_of_a_map_of_schemes_and_titles_of_a_map_of_one() -> None:
    both = map_figure(_by_hand(_WIDTHS, "a", "b", slices=("mlp", "resnet")))
    assert [axis.get_ylabel().split("\n")[0] for axis in both.axes[:4:2]] == ["mlp", "resnet"]
    assert [axis.get_title(loc="left") for axis in both.axes[:4]] == ["a", "b"] * 2
    alone = map_figure(_by_hand(_WIDTHS, "a", slices=("mlp", "resnet")))
    assert [axis.get_title(loc="left") for axis in alone.axes[:2]] == ["mlp", "resnet"]
    assert len({axis.get_position().y0 for axis in alone.axes[:2]}) == 1, "in one row"
    assert alone.texts[0].get_text() == "Trainable region: made, a"
    assert both.texts[0].get_text() == "Trainable region: made"
