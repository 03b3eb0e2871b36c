"""`analysis theory`: closed forms next to random networks, and what it says where one of the two is missing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from analysis import profiles
from analysis.__main__ import main
from analysis.draw.profile import profile_figure
from analysis.profiles import NETS, Point, ProfileInfo, as_dict, profile_info, text, title, verdict
from isoinit.theory.predict import Tolerance, depth_limit, predict
from isoinit.theory.simulate import DEAD
from isoinit.theory.tolerance import BETWEEN


@pytest.mark.parametrize("scheme", ["he_normal", "orthogonal", "ll_orth"])
def test_random_networks_lie_where_theory_says(scheme: str) -> None:
    info = profile_info(Point(scheme, depth=12, width=32), nets=200)
    assert info.simulation is not None
    middle = np.median(info.simulation.log_norm[:, -1])
    spread = info.simulation.log_norm[:, -1].std() / math.sqrt(200)
    assert middle == pytest.approx(info.theory.log_norm[-1, 2], abs=5 * spread + 1e-6)
    assert info.simulation.correlation[:, -1].mean() == pytest.approx(info.theory.correlation[-1], abs=0.1)


def test_weight_scale_multiplies_the_variance() -> None:
    plain, scaled = (profile_info(Point("he_normal", 10, 32, weight_scale=s), nets=0).theory for s in (1.0, 0.5))
    assert scaled.prediction.sigma_w2 == pytest.approx(plain.prediction.sigma_w2 / 2)
    assert scaled.log_norm[-1, 2] == pytest.approx(plain.log_norm[-1, 2] + 9 * math.log(0.5))


def test_bias_mode_matters_only_with_a_bias() -> None:
    zero = [profile_info(Point("ll_orth", 10, 32, 0.0, mode), nets=0).theory for mode in ("iid", "mirrored")]
    some = [profile_info(Point("ll_orth", 10, 32, 0.1, mode), nets=0).theory for mode in ("iid", "mirrored")]
    assert (zero[0].log_gradient == zero[1].log_gradient).all()
    assert [made.prediction.bias_mode for made in zero] == ["zero", "zero"]
    assert some[0].log_gradient[-1] > some[1].log_gradient[-1] + 0.1  # iid biases break the mirror


def test_large_networks_are_not_simulated_unasked() -> None:
    info = profile_info(Point("he_normal", depth=100, width=4096))
    assert info.simulation is None
    assert "--nets" in info.note
    assert all(measured == "" for _, _, measured in text(info))


@pytest.mark.parametrize(("affordable", "nets"), [(10, 10), (NETS + 1, NETS)])
def test_as_many_networks_are_simulated_as_the_budget_allows_up_to_some(
    affordable: int, nets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "BUDGET", affordable * 3 * 8**3)
    assert profile_info(Point("he_normal", depth=3, width=8)).nets == nets


def test_networks_that_do_not_fit_into_memory_are_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Of these there would be more than any system has addresses for, so nothing is begun."""
    assert main(["theory", "ll_orth", "--depth", "5", "--width", "100000", "--nets", "1000000000"]) == 2
    assert "analysis: 1000000000 nets of width 100000 do not fit into memory" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_networks() -> None:
    first, again, other = (as_dict(profile_info(Point("he_normal", 5, 16), nets=4, seed=s)) for s in (1, 1, 2))
    assert first["simulation"] == again["simulation"]
    assert first["simulation"] != other["simulation"]


def test_text_has_the_gradients_of_classes_where_they_are_derived() -> None:
    def row(nets: int = 40, **point: Any) -> tuple[str, str]:
        info = profile_info(Point(depth=20, width=32, **point), nets=nets)
        return next((told, found) for name, told, found in text(info) if "gradients of 10 classes" in name)

    for activation in ("relu", "tanh"):
        told, found = map(float, row(scheme="he_normal", activation=activation))
        assert 0.5 < told / found < 2
    assert row(scheme="ll_orth")[0] == "1"
    assert row(0, scheme="he_normal", activation="tanh", normalization="batch")[0] == "-"


def test_text_has_both_routes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "ll_orth", "--depth", "20", "--width", "16", "--bias-variance", "0.1", "--nets", "8"]) == 0
    out = capsys.readouterr().out
    assert "8 random networks" in out
    assert "depth limit" in out
    assert "no closed form is known for a mirrored net with an iid bias" in out


def test_of_several_learning_rates_one_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    """And what is enough, and what stable, is told either way, beside random networks, too."""
    ask = ["theory", "he_normal", "--depth", "4", "--width", "16", "--steps", "200", "--nets", "2"]
    for rates, outcome in (("0.001", "stalled; depth limit 1 (rate)"), ("0.001,0.3", "trained; depth limit")):
        assert main([*ask, "--learning-rate", rates]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert f"he_normal: {outcome}" in said
        told = predict("he_normal", depth=4, width=16, steps=200, learning_rate=0.001)
        assert f"learning rate that is stable, at most {told.stable_rate:.2g} -" in said
        assert f"that is enough for 200 steps, at least {told.least_rate:.2g} -" in said
    assert main([*ask, "--learning-rate", "0.3,fast"]) == 2
    assert "learning rates read like '0.1' or '0.1,0.03', but got '0.3,fast'" in capsys.readouterr().err
    assert main([*ask[:-4], "--learning-rate", "0.1", "--nets", "0"]) == 0
    assert "that is enough" not in capsys.readouterr().out, "no steps are given"


def test_the_accuracy_and_the_data_move_the_limit_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["theory", "he_normal", "--depth", "12", "--width", "64", "--nets", "0", "--steps", "300"]

    def limit(*more: str) -> float:
        assert main([*ask, *more, "--json"]) == 0
        return json.loads(capsys.readouterr().out)["prediction"]["depth_limit"]

    assert limit() == limit("--accuracy", "0.8") == limit("--dataset", "digits")
    sure = Tolerance.of(0.95, BETWEEN["mnist"])
    assert limit("--accuracy", "0.95", "--dataset", "mnist") == depth_limit(
        "he_normal", width=64, steps=300, tolerance=sure
    )
    assert main([*ask, "--accuracy", "95"]) == 2
    assert "accuracy must be a number from 0 to 1, but got 95.0" in capsys.readouterr().err


def test_a_budget_of_steps_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["theory", "he_normal", "--depth", "30", "--width", "64", "--nets", "0"]
    assert main(asked) == 0
    assert "he_normal: stalled; depth limit 23 (alignment)" in capsys.readouterr().out
    assert main([*asked, "--steps", "3000"]) == 0
    said = capsys.readouterr().out
    assert "he_normal: trained; depth limit 51 (alignment)" in said
    assert "the steps: as if each were of the greatest stable learning rate" in " ".join(said.split())
    assert main([*asked, "--steps", "0"]) == 2
    assert "steps must be a whole number from 1" in capsys.readouterr().err


def test_picture_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["theory", "he_normal", "--depth", "8", "--width", "16", "--nets", "4", "--out", str(tmp_path), "--json"]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert (tmp_path / "theory-he_normal.png").is_file()
    assert len(found["correlation"]) == len(found["layers"]) == 7
    assert np.array(found["simulation"]["log_norm"]).shape == (4, 7)
    assert found["prediction"]["outcome"] == "trained"


@pytest.mark.parametrize(
    ("scheme", "option", "says"),
    [
        ("risotto_c", [], "resnet relu"),
        ("ll_crelu", ["--bias-variance", "0.1"], "mlp crelu"),
        ("xavier_normal", ["--activation", "tanh", "--bias-variance", "0.05"], "mlp tanh"),
        ("he_normal", ["--normalization", "batch"], "batch normalization"),
        ("he_pruned", ["--density", "0.5"], "width 8, density 0.5"),
        ("zero", ["--architecture", "cnn"], "cnn relu"),
    ],
)
def test_every_kind_of_scheme_can_be_asked(
    scheme: str, option: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["theory", scheme, "--depth", "9", "--width", "8", "--nets", "3", "--out", str(tmp_path), *option]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert says in out
    assert "3 random networks" in out
    assert (tmp_path / f"theory-{scheme}.png").stat().st_size > 10_000


def test_networks_that_die_or_leave_the_floats_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for scheme, depth, width in (("he_normal", 40, 3), ("lecun_normal", 900, 24)):
        argv = ["theory", scheme, "--depth", str(depth), "--width", str(width), "--nets", "4", "--out", str(tmp_path)]
        assert main(argv) == 0
    out = capsys.readouterr().out
    assert "e^-" in out
    assert "nan" not in out
    info = profile_info(Point("he_normal", 40, 3), nets=4)
    axis, _, angle, spectrum = profile_figure(info).axes
    assert axis.get_ylim()[0] > -200, "dead nets do not stretch the axis"
    assert "dead" in [t.get_text() for t in axis.texts]
    median, edge = (
        np.asarray(line.get_ydata())
        for line in axis.lines
        if line.get_marker() == "None" and line.get_linestyle() in ("-", ":")
    )
    assert median[-1] == edge[0] < info.theory.log_norm[info.theory.log_norm > DEAD].min() - 0.1, "below all that live"
    assert np.isfinite(_bars(angle)).all(), "of the networks that live"
    assert spectrum.get_ylim()[0] < _bars(spectrum).min(), "zeros, too"


def test_the_picture_says_what_is_missing_and_draws_no_rounding() -> None:
    bare = profile_figure(profile_info(Point("ll_eoi", 20, 16, 0.1), nets=0))
    assert "random networks: not simulated" in [t.get_text() for t in bare.legends[0].texts]
    assert not len(bare.axes[3].get_yticks()), "of a spectrum that nothing is known of"
    exact = profile_figure(profile_info(Point("ll_orth", 20, 16), nets=4))
    assert not exact.axes[0].texts, "none is dead"
    low, high = exact.axes[1].get_ylim()
    assert low == pytest.approx(-high)
    assert high - low > 0.1, "a gradient that is constant up to rounding is drawn flat"


def test_words_on_the_spectrum_lie_above_it() -> None:
    """Of a mirrored net with iid biases the least singular values are as the greatest, and were struck through."""
    for point in (Point("ll_orth", 2, 16, 0.1), Point("he_normal", 30, 16), Point("risotto_b", 9, 16)):
        figure = profile_figure(profile_info(point, nets=32))
        figure.canvas.draw()
        axis = figure.axes[3]
        heights = np.concatenate([np.asarray(line.get_ydata(), float) for line in axis.lines])
        assert np.ptp(heights) < 9, "what is all but zero stretches no axis"
        top = axis.transData.transform((0, heights.max()))[1] + 0.04 * figure.dpi  # a dot has a radius
        (words,) = (text.get_window_extent() for text in axis.texts)
        assert top < words.y0, point
        assert words.y1 < axis.get_window_extent().y1, point


def test_correlations_are_compared_in_their_mean() -> None:
    info = profile_info(Point("he_normal", 6, 8), nets=32)
    axis = profile_figure(info).axes[2]
    dots, rings = (line.get_ydata() for line in axis.lines if line.get_marker() == "o")
    assert info.simulation is not None
    assert np.asarray(dots) == pytest.approx(np.nanmean(info.simulation.correlation, axis=0))
    assert np.asarray(rings) == pytest.approx(1 - np.exp(np.nanmean(info.simulation.log_nearest, axis=0)))
    assert np.all(np.asarray(rings) > np.asarray(dots))
    legend = axis.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.texts] == ["nearest of 10", "two", "mean, 5, 95 %"]
    assert _bars(axis) == pytest.approx(np.nanquantile(info.simulation.correlation, [0.05, 0.95], axis=0).T)
    assert profile_figure(profile_info(Point("he_normal", 30, 4, 0.1), nets=32)), "though a mean is outside of its bar"
    opposite = profile_figure(profile_info(Point("xavier_normal", 4, 4, activation="linear"), nets=32)).axes[2]
    assert opposite.get_ylim()[0] < _bars(opposite).min() < -0.1


def test_the_numbers_in_words_are_those_of_the_last_layer() -> None:
    info = profile_info(Point("he_normal", 8, 16), nets=32)
    measured = info.simulation
    assert measured is not None
    ends = np.exp(info.theory.log_norm[-1, [0, 4]])
    seen = np.exp(np.quantile(measured.log_norm[:, -1], [0.05, 0.95], method="nearest"))
    assert _row(info, "5 to 95 % of seeds") == tuple(f"{low:.3g} to {high:.3g}" for low, high in (ends, seen))
    logs = measured.log_gradient[:, -1]
    assert _row(info, "log gradient")[1] == f"{logs.mean():.2f} ± {logs.std(ddof=1):.2f}"
    assert _row(info, "correlation of two")[1] == f"{measured.correlation[:, -1].mean():.4f}"
    assert _row(info, "nearest of 10")[1] == f"{np.exp(measured.log_nearest[:, -1].mean()):.2g}"
    squares = measured.singular_values**2
    assert _row(info, "Var(e)")[1] == f"{(squares.var(axis=1) / squares.mean(axis=1) ** 2).mean():.1f}"
    least, middle, most = (float(v) for v in _row(info, "singular values")[1].split(" / "))
    assert [least, middle, most] == pytest.approx(
        np.quantile(measured.singular_values, [0.05, 0.5, 0.95], method="nearest"), rel=0.06
    )


def test_dead_networks_have_no_norm_and_no_say_in_the_log_gradient() -> None:
    """It was 0 where all but one were dead, which is the gradient of an isometry."""
    info = profile_info(Point("he_normal", 6, 16), nets=4)
    measured = info.simulation
    assert measured is not None
    logs = measured.log_gradient[:, -1]
    for dead, said in (
        (1, f"{logs[1:].mean():.2f} ± {logs[1:].std(ddof=1):.2f}"), (3, f"{logs[3]:.2f}"), (4, "-"),
    ):  # fmt: skip
        gone = (np.arange(4) < dead)[:, None]
        norm, gradient = (np.where(gone, DEAD, found) for found in (measured.log_norm, measured.log_gradient))
        partly = info._replace(simulation=replace(measured, log_norm=norm, log_gradient=gradient))
        assert _row(partly, "log gradient")[1] == said
        assert _row(partly, "5 to 95 % of seeds")[1].startswith("0 to ")


def test_a_verdict_says_of_which_network_and_whether_the_seed_decides() -> None:
    told = predict("he_pruned", depth=8, width=16, density=0.5)
    told = replace(told, outcome="trained", seed_dependent=True, depth_limit=9.4, binding="signal")
    assert verdict(told) == "trained, depending on the seed; depth limit 9 (signal)"
    assert verdict(replace(told, seed_dependent=False, depth_limit=math.inf)) == "trained; no depth limit"
    assert title(told) == "mlp relu, depth 8, width 16, density 0.5"
    assert title(predict("he_normal", depth=8, width=16)) == "mlp relu, depth 8, width 16"
    batch = predict("he_normal", depth=8, width=16, normalization="batch")
    assert title(batch) == "mlp relu, depth 8, width 16, batch normalization"


def test_a_point_has_the_activation_and_the_architecture_that_its_scheme_is_made_for() -> None:
    told = [profile_info(Point(scheme, 9, 8), nets=0).theory.prediction for scheme in ("fixup", "ll_crelu")]
    assert [(made.architecture, made.activation) for made in told] == [("resnet", "relu"), ("mlp", "crelu")]


def test_bands_and_dots_lie_at_their_quantiles() -> None:
    info = profile_info(Point("he_normal", 6, 16, 0.1), nets=16)
    measured, theory = info.simulation, info.theory
    assert measured is not None
    figure = profile_figure(info)
    for axis, bands, found in (
        (figure.axes[0], theory.log_norm, measured.log_norm),
        (figure.axes[1], theory.gradient_bands, measured.log_gradient),
    ):
        fans = [np.asarray(path.vertices)[:, 1] for c in axis.collections[:2] for path in c.get_paths()]
        ends = [(heights.min(), heights.max()) for heights in fans]
        assert ends == [pytest.approx((bands[:, low].min(), bands[:, high].max())) for low, high in ((0, 4), (1, 3))]
        np.testing.assert_allclose(np.asarray(axis.lines[0].get_ydata()), bands[:, 2])
        low, high = np.quantile(found, [0.05, 0.95], axis=0, method="nearest")
        np.testing.assert_allclose(_bars(axis), np.column_stack([low, high]))
    angle, spectrum = figure.axes[2:]
    np.testing.assert_allclose(np.asarray(angle.lines[1].get_ydata()), 1 - theory.nearest)
    ranks, dots = next(np.asarray(line.get_data()) for line in spectrum.lines if line.get_marker() == "o")
    assert (np.diff(dots) >= 0).all(), "in the order of their ranks"
    assert ranks[[0, -1]] == pytest.approx([1 / 32, 31 / 32]), "in the middle of the share of each"
    ends = np.quantile(np.log10(measured.singular_values[:, 0]), [0.05, 0.95], method="nearest")
    assert _bars(spectrum)[-1] == pytest.approx(ends)
    np.testing.assert_array_equal(np.asarray(spectrum.lines[0].get_xdata()), theory.singular_levels)
    assert [t.get_text() for t in figure.legends[0].texts] == [
        "theory: median", "theory: 50 and 90 % of seeds", "16 random networks: 5, 50, 95 %",
    ]  # fmt: skip
    assert figure.texts[1].get_text() == "mlp, relu, depth 6, width 16, $\\sigma_w^2$ = 2, $\\sigma_b^2$ = 0.1 (iid)"


def test_a_picture_says_of_which_network_it_is() -> None:
    def said(scheme: str, **point: Any) -> str:
        return profile_figure(profile_info(Point(scheme, 4, 16, **point), nets=0)).texts[1].get_text()

    assert said("he_pruned", density=0.5).endswith(", density 0.5, no bias")
    assert said("he_normal", normalization="batch").startswith("mlp, relu, batch normalization, depth 4, width 16, ")
    assert "normalization" not in said("he_normal")
    assert "density" not in said("he_normal")


def test_one_layer_is_seen_and_layers_are_whole() -> None:
    for depth in (2, 6, 100):
        figure = profile_figure(profile_info(Point("he_normal", depth, 8), nets=4))
        for axis in figure.axes[:3]:
            assert len(np.unique(axis.lines[0].get_xdata())) > 1, "a line of one point is not seen"
            low, high = axis.get_xlim()
            ticks = [t for t in axis.get_xticks() if low <= t <= high]
            assert ticks
            assert all(1 <= t == round(t) < depth for t in ticks)
        for axis in figure.axes[:2]:
            dots = next(np.asarray(line.get_xdata()) for line in axis.lines if line.get_marker() == "o")
            assert dots[[0, -1]].tolist() == [1, depth - 1]


def _bars(axis: Axes) -> np.ndarray:
    """The ends [dots, 2] of the bars of random networks."""
    (bars,) = (c.lines[2][0].get_segments() for c in axis.containers if isinstance(c, ErrorbarContainer))
    return np.array([bar[:, 1] for bar in bars])


def _row(info: ProfileInfo, name: str) -> tuple[str, str]:
    return next((told, found) for row, told, found in text(info) if name in row)


def test_a_spread_that_was_not_derived_is_not_stated() -> None:
    info = profile_info(Point("idinit", 20, 32), nets=4)
    assert _row(info, "5 to 95 % of seeds")[0] == "-"
    assert _row(info, "log gradient")[0] == "-0.69"
    isometry = profile_info(Point("ll_orth", 20, 32), nets=4)
    assert _row(isometry, "5 to 95 % of seeds") == ("1 to 1", "1 to 1"), "here none is what was derived"
    assert "±" in _row(profile_info(Point("lsuv", 8, 16), nets=0), "log gradient")[0], "though that of norms is not"
    batch, biased = (
        Point("he_normal", 8, 16, normalization="batch"),
        Point("orthogonal", 8, 16, 0.1, activation="linear"),
    )
    gradients, norms = (profile_info(point, nets=0) for point in (batch, biased))
    median, bands = "theory: median", "theory: 50 and 90 % of seeds"
    for made, said in (
        (info, ["theory: wide limit"]), (isometry, [median]), (gradients, [median, bands]), (norms, [median, bands]),
    ):  # fmt: skip
        assert [t.get_text() for t in profile_figure(made).legends[0].texts][:-1] == said


def test_singular_values_are_some_that_occur_and_rounding_is_none() -> None:
    assert _row(profile_info(Point("idinit", 20, 32), nets=4), "singular values")[0] == "0 / 0 / 1"
    deep = profile_info(Point("he_normal", 12, 8), nets=8)
    assert _row(deep, "singular values")[1].startswith("0 / ")
    assert "e-" not in _row(profile_info(Point("he_normal", 6, 32), nets=8), "singular values")[1]


@pytest.mark.parametrize(("scheme", "width"), [("he_normal", 1), ("ll_orth", 2)])
def test_one_input_unit_has_no_angle(scheme: str, width: int, tmp_path: Path) -> None:
    info = profile_info(Point(scheme, 2, width))
    assert info.simulation is None
    assert "at least 2 input units" in info.note
    assert main(["theory", scheme, "--depth", "2", "--width", str(width), "--out", str(tmp_path)]) == 0
    with pytest.raises(ValueError, match="at least 2 input units"):
        profile_info(Point(scheme, 2, width), nets=2)


def test_a_bias_may_be_as_large_as_floats_hold() -> None:
    small, large = (profile_info(Point("he_normal", 5, 8, bias), nets=0).theory.log_norm[-1] for bias in (1e20, 1e300))
    assert large - small == pytest.approx(np.full(5, 280 * math.log(10)), abs=0.02)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"scheme": "he_nrmal"}, "did you mean 'he_normal'"),
        ({"--depth": "1"}, "depth"),
        ({"--density": "0.5"}, "density must be 1 for he_normal"),
        ({"scheme": "he_pruned", "--density": "0"}, "density must be a number above 0 and at most 1, but got 0.0"),
        ({"--width": "0"}, "width"),
        ({"--bias-variance": "-1"}, "bias variance must be a finite number of at least 0, but got -1.0"),
        ({"--weight-scale": "0"}, "weight scale must be a finite number above 0, but got 0.0"),
        ({"--nets": "-3"}, "nets must be at least 0"),
        ({"--nets": "1"}, "and not 1"),
        ({"--activation": "swich"}, "swich"),
        ({"--depth": "100000"}, "depth must be at most 2000"),
        ({"--seed": "-1"}, "seed must be at least 0"),
        ({"--architecture": "rnn"}, "architecture must be one of mlp"),
        ({"scheme": "fixup", "--architecture": "mlp"}, "fixup has a theory for resnet only"),
        ({"scheme": "ll_orth", "--width": "5", "--nets": "2"}, "even width"),
    ],
)
def test_a_mistake_is_one_sentence(change: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"scheme": "he_normal", "--depth": "5", "--width": "8", **change}
    argv = ["theory", options.pop("scheme"), *(word for pair in options.items() for word in pair)]
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1
