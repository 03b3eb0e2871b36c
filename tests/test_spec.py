"""A spec is checked whole before anything is spent, and its hashes cover what they should and no more."""

from __future__ import annotations

import pytest

from sweeps import space
from sweeps.reading import parse, read
from sweeps.spec import Point

MINIMAL = """
name: tiny
space: {scheme: he_normal, depth: 4, width: 16}
"""
POINT = Point("he_normal", "mlp", "relu", "none", 4, 16, 1.0, "iid", 0.0, 1.0)


def test_a_number_is_a_level_a_list_levels_and_a_mapping_a_range() -> None:
    spec = parse(MINIMAL, ["space.width=[16, 32]", "space.depth={low: 2, high: 8, log: true}"])
    assert spec.space.width == [16, 32]
    assert spec.space.scheme == ["he_normal"]
    assert not isinstance(spec.space.depth, list)
    assert (spec.space.depth.low, spec.space.depth.high, spec.space.depth.log) == (2, 8, True)


def test_the_smallest_networks_and_batches_are_allowed() -> None:
    spec = parse(MINIMAL, ["space.width=1", "space.depth=2", "training.batch_size=1"])
    assert (spec.space.width, spec.space.depth, spec.training.batch_size) == ([1], [2], 1)
    least = parse(MINIMAL, ["space.width={low: 1, high: 8}", "space.depth={low: 2, high: 8}"]).space
    assert not isinstance(least.width, list)
    assert not isinstance(least.depth, list)
    assert (least.width.low, least.depth.low) == (1, 2)


def test_what_is_a_truth_may_be_yes_and_a_number_a_text_to_yaml() -> None:
    training = parse(MINIMAL, ["training.stop_on_success=yes", "training.learning_rate=1e-4"]).training
    assert (training.stop_on_success, training.learning_rate) == (True, [1e-4])


def test_a_zero_has_no_sign() -> None:
    """A point of -0 had a key of its own, so that the same network was another trial."""
    for value in ("-0.0", "[-0.0, -0.0]", "{low: -0.0, high: -0.0}"):
        design = space.build(parse(MINIMAL, [f"space.bias_variance={value}"]))
        assert {str(point.bias_variance) for point in design.corners()} == {"0.0"}


def test_the_last_seed_that_the_tables_hold_is_allowed() -> None:
    spec = parse(MINIMAL, ["training.first_seed=2147483448"])
    assert max(spec.seeds(spec.search.trials - 1)) == 2**31 - 1


def test_more_seeds_and_trials_than_the_tables_hold_are_refused() -> None:
    with pytest.raises(ValueError, match=r"training\.seeds times search\.trials must be at most 2147483648"):
        parse(MINIMAL, ["training.seeds=10000", "search.trials=1000000"])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("space.dpth=3", ["space.dpth", "did you mean 'depth'", "bias_variance"]),
        ("space.depth={low: 2, hihg: 8}", ["space.depth.hihg", "did you mean 'high'"]),
        ("space.depth={low: 9, high: 8}", ["space.depth", "low <= high", "low=9"]),
        ("space.depth={high: 8}", ["space.depth.low", "missing"]),
        ("space.depth={low: 2.5, high: 8}", ["depth", "whole"]),
        ("space.depth=1", ["depth", "at least 2", "got 1"]),
        ("space.depth=[]", ["depth", "empty"]),
        ("space.width=sixteen", ["space.width", "sixteen"]),
        ("space.bias_variance={low: 0, high: 1, log: true}", ["space.bias_variance", "low > 0", "zero: true"]),
        ("space.width={low: 0, high: 8}", ["width", "at least 1", "got 0"]),
        ("training.batch_size=0", ["training.batch_size", "1", "got 0"]),
        ("space.density=1.5", ["density", "at most 1", "1.5"]),
        ("space.scheme=[]", ["space.scheme"]),
        ("trainin.steps=3", ["trainin", "did you mean 'training'"]),
        ("training.steps=0", ["training.steps", "0"]),
        ("training.learning_rate=[-1]", ["training.learning_rate", "-1"]),
        ("training.optimizer=sdg", ["training.optimizer", "sgd", "adam"]),
        ("criterion={metric: train_loss, at_least: 1}", ["criterion", "at_most"]),
        ("criterion.at_least=2", ["spec: criterion must have 0 < threshold <= 1", "got 2"]),
        ("search.until={undecided: 2}", ["search.until.undecided", "2"]),
        ("name=a b", ["name"]),
        ("steps", ["--set", "training.steps=300"]),
        ("space.width=8.5", ["space.width: must be a whole number of at least 1, but got 8.5"]),
        ("space.width=[8, 0]", ["space.width: must be a whole number of at least 1, but got 0"]),
        ("space.depth=[4, x]", ["space.depth: must be a whole number of at least 2, but got 'x'"]),
        ("space.bias_variance=.nan", ["space.bias_variance: must be a finite number, but got nan"]),
        ("space.bias_variance=[0.1, .inf]", ["space.bias_variance: must be a finite number, but got inf"]),
        ("space.weight_scale=[abc]", ["space.weight_scale: must be a finite number, but got 'abc'"]),
        ("training.learning_rate=[0.1, .nan]", ["training.learning_rate should be a finite number, but got nan"]),
        ("training.learning_rate=[0.1, 1, 0.10]", ["training.learning_rate: every rate", "but 0.1 is given 2 times"]),
        ("training.nesterov=true", ["training", "nesterov needs a momentum above 0"]),
        ("training.schedule.factor=0.5", ["training.schedule: factor 0.5", "'at' is empty; say when"]),
        ("training={optimizer: adam, momentum: 0.9}", ["training", "momentum is of sgd", "0.9 with optimizer adam"]),
        ("criterion={metric: train_accuracy, at_least: 0.5, within: 5}", ["criterion.within", "from 10", "got 5"]),
        ("criterion={metric: train_accuracy, at_least: 0.5, within: 201}", ["criterion.within", "to 200", "got 201"]),
        ("space.depth={low: 2, high: 8, levels: 1000000000}", ["space.depth.levels", "10000, but got 1000000000"]),
        ("space.width=[8, 2147483648]", ["width must be at most 1000000, but got 2147483648"]),
        ("space.depth={low: 2, high: 99999999999}", ["depth must be at most 1000000, but got 99999999999"]),
        ("training.steps=2000000000", ["training.steps", "10000000, but got 2000000000"]),
        ("training.batch_size=3000000000", ["training.batch_size", "65536, but got 3000000000"]),
        ("training={steps: 10000, batch_size: 50000}", ["training: steps times batch_size", "at most 5368 steps"]),
        ("training={steps: 2000000, log_every: 19}", ["training: log_every must be at least 20", "but got 19"]),
        ("training.seeds=2000000000", ["training.seeds", "10000, but got 2000000000"]),
        ("training.first_seed=2147483648", ["training.first_seed must be at most 2147483448", "got 2147483648"]),
        ("training.first_seed=2147483449", ["training.first_seed must be at most 2147483448, so that each of 100"]),
        ("search.trials=2000000000", ["search.trials", "1000000, but got 2000000000"]),
        ("search.seed=4294967296", ["search.seed", "4294967295, but got 4294967296"]),
        ("space.weight_scale={low: 0.1, high: 1, log: true, zero: true}", ["weight_scale must be above 0", "leave"]),
        ("space.density={low: 0.1, high: 1, log: true, zero: true}", ["density must be above 0, but got 'zero: true'"]),
        ("space.width=true", ["space.width: must be a number, but got true", "YAML makes of yes and on"]),
        ("space.bias_variance=[0.1, off]", ["space.bias_variance: must be a number, but got false", "no and off"]),
        ("space.depth={low: 2, high: yes}", ["space.depth.high: must be a number, but got true"]),
        ("training.seeds=yes", ["training.seeds: must be a number, but got true"]),
        ("training.learning_rate=[0.1, true]", ["training.learning_rate: must be a number, but got true"]),
        ("training.train_samples=on", ["training.train_samples: must be a number, but got true"]),
        ("search.trials=on", ["search.trials: must be a number, but got true"]),
        ("resources.gpus=false", ["resources.gpus: must be a number, but got false"]),
        (
            "resources.gpus=1.5",
            ["resources.gpus: must be 0, a share of one GPU from 0.0001 to 1, or a whole", "got 1.5"],
        ),
        ("resources.gpus=0.00001", ["resources.gpus: must be 0, a share of one GPU from 0.0001 to 1", "got 1e-05"]),
        ("resources.cpus=0.00001", ["resources.cpus should be greater than or equal to 0.0001, but got 1e-05"]),
        ("network=", ["network should be a mapping of fields, but got None"]),
        ("training.schedule=[0.5]", ["training.schedule should be a mapping of fields, but got [0.5]"]),
        ("space.width=", ["space.width should be a mapping of fields or should be a valid list, but got None"]),
        ("training.steps=1.5", ["training.steps should be a valid integer, but got 1.5"]),
        ("training.learning_rate=[]", ["training.learning_rate should have at least 1 item, but got []"]),
        ("training.learning_rate=[1, 1.0, 1]", ["training.learning_rate: every rate", "but 1 is given 3 times"]),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_field_and_the_remedy(setting: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        parse(MINIMAL, [setting])
    message = str(caught.value)
    assert "\n" not in message
    assert "instance of" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("gpus", ["auto", 0, 0.25, 1, 2, 4.0])
def test_shares_of_one_gpu_and_whole_ones_are_allowed(gpus: float | str) -> None:
    assert parse(MINIMAL, [f"resources.gpus={gpus}"]).resources.gpus == gpus


@pytest.mark.parametrize(
    "setting",
    [
        "training.schedule.at=[0]",
        "training.schedule.at=[1]",
        "training.schedule={at: [0.5], factor: 0}",
        "training.momentum=1",
        "training.momentum=-0.1",
        "training.weight_decay=-0.1",
        "training.log_every=0",
        "training.seeds=0",
        "training.first_seed=-1",
        "training.train_samples=0",
        "criterion={metric: train_loss, at_least: 0.5, at_most: 0.5}",
        "search.until.undecided=0",
        "search.until.undecided=1",
        "search.until.frontier_band=0",
        "search.until.frontier_band=1",
        "search.batch=0",
        "search.audit=-0.1",
        "search.audit=1.1",
        "resources.pack=0",
        "resources.packs_at_once=0",
        "resources.max_failures=-1",
        "name=.tiny",
        f"name={'a' * 82}",
        "space.depth={low: 2, high: 8, levels: 1}",
        "space.depth={low: 1, high: 8}",
        "space.depth={low: 2, high: 8.5}",
        "space.depth={low: 2, high: 8, log: true, zero: true}",
        "space.bias_variance={low: 0.1, high: 1, zero: true}",
        "space.bias_variance=-0.1",
        "space.weight_scale=0",
        "space.density=0",
    ],
)
def test_what_no_sweep_can_be_run_with_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=setting.split(".")[0].split("=")[0]):
        parse(MINIMAL, [setting])


@pytest.mark.parametrize(
    "setting",
    [
        "training.momentum=0",
        "search.audit=0",
        "search.audit=1",
        f"name={'a' * 81}",
        "space.depth={low: 2, high: 8, levels: 2}",
        "criterion={metric: train_accuracy, at_least: 0.5, within: 10}",
        "criterion={metric: train_accuracy, at_least: 0.5, within: 200}",
    ],
)
def test_the_ends_of_what_is_allowed_are_allowed(setting: str) -> None:
    parse(MINIMAL, [setting])


def test_a_criterion_looks_within_its_steps_of_a_short_training_too() -> None:
    spec = parse(MINIMAL, ["training.steps=5", "criterion={metric: train_accuracy, at_least: 0.5, within: 5}"])
    assert spec.criterion.build().within == 5


def test_a_key_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at line 4, column 1: .*name.* is given twice"):
        parse(f"{MINIMAL}\nname: other\n".lstrip())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("? [a, b]\n: 3", ["at line 3, column 3", "a key must be a name, and a list or a mapping is none"]),
        ("{a: 1}: 3", ["at line 3, column 1", "a key must be a name, and a list or a mapping is none"]),
        ("1: 2", ["at line 3, column 1", "a key must be a name, and 1 is none; put it in quotes"]),
        ("search: {on: 2}", ["at line 3, column 10", "a key must be a name, and on is none"]),
        ("question: 2024-13-45", ["at line 3, column 11", "'2024-13-45' is no timestamp; put it in quotes"]),
        ("dataset: !!timestamp foo", ["at line 3, column 10", "'foo' is no timestamp"]),
        ("search: {seed: !!int foo}", ["at line 3, column 16", "'foo' is no int"]),
        ("search: {seed: !!int ''}", ["at line 3, column 16", "'' is no int"]),
        (f"question: {'[' * 500}{']' * 500}", ["cannot be read", "nested too deeply"]),
        ("int: 3", ["int is not a field; valid: name, question"]),
    ],
)
def test_what_yaml_cannot_read_has_a_place(line: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        parse(f"{MINIMAL}{line}\n".lstrip(), origin="mine.yaml")
    said = str(caught.value)
    assert said.startswith("mine.yaml")
    assert "\n" not in said
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("space.width=064", ["YAML reads 064 to base 8", "without a leading 0"]),
        ("space.depth=[2, 010]", ["YAML reads 010 to base 8"]),
        ("training.steps=1:30", ["YAML reads 1:30 to base 60", "without a colon"]),
        ("training.learning_rate=1:30.5", ["YAML reads 1:30.5 to base 60"]),
    ],
)
def test_a_number_that_yaml_reads_to_another_base_is_refused(setting: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        read("smoke", [setting])
    for word in words:
        assert word in str(caught.value)


def test_a_number_may_be_0_or_a_decimal_fraction() -> None:
    spec = read("smoke", ["space.bias_variance=[0, 0.5, +0.25, 00.75]", "search.seed=0"])
    assert spec.space.bias_variance == [0, 0.5, 0.25, 0.75]


def test_a_setting_changes_its_field_alone_where_another_is_an_alias_of_the_same_mapping() -> None:
    shared = "name: tiny\nspace: {scheme: he_normal, depth: &sizes {low: 2, high: 64}, width: *sizes}"
    space = parse(shared, ["space.depth.high=8"]).space
    assert not isinstance(space.depth, list)
    assert not isinstance(space.width, list)
    assert (space.depth.high, space.width.high) == (8, 64)


def test_a_setting_of_no_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--set reads like training\.steps=300, but got 'training\.=3'"):
        parse(MINIMAL, ["training.=3"])


@pytest.mark.parametrize("text", ["a: [1", "just words", "- a\n- b", ""])
def test_what_is_no_yaml_mapping_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"(is not YAML|is not a spec)"):
        parse(text)


def test_an_unknown_spec_names_the_near_match() -> None:
    with pytest.raises(ValueError, match="did you mean 'quickstart'"):
        read("quickstrat")


def test_a_trial_key_covers_what_changes_a_result_and_nothing_else() -> None:
    base = parse(MINIMAL)
    key = base.trial_key(POINT, (0, 1), "data")
    for setting in ("training.steps=7", "training.learning_rate=[0.5]", "training.batch_size=3"):
        assert parse(MINIMAL, [setting]).trial_key(POINT, (0, 1), "data") != key
    for setting in ("name=other", "search.trials=7", "search.sampler=sobol", "criterion.at_least=0.5", "question=why"):
        assert parse(MINIMAL, [setting]).trial_key(POINT, (0, 1), "data") == key
    assert base.trial_key(POINT._replace(depth=5), (0, 1), "data") != key
    assert base.trial_key(POINT, (2, 3), "data") != key
    assert base.trial_key(POINT, (0, 1), "other data") != key


def test_a_trial_key_stays_what_it_was() -> None:
    """Or else no sweep that was begun before can be resumed or replayed; a new `spec.NUMERICS` means just that."""
    assert parse(MINIMAL).trial_key(POINT, (0, 1), "digest") == "d47575f0ae9d3c9fb4ae6350"


def test_the_criterion_is_part_of_the_key_only_if_it_stops_training() -> None:
    def key(*settings: str) -> str:
        return parse(MINIMAL, settings).trial_key(POINT, (0,), "data")

    stop = "training.stop_on_success=true"
    assert key(stop, "criterion.at_least=0.5") != key(stop, "criterion.at_least=0.6")


def test_a_sweep_may_be_continued_with_more_trials_or_elsewhere_but_not_with_another_space() -> None:
    sha = parse(MINIMAL).sha256
    for setting in ("search.trials=999", "resources.cpus=2", "question=why", "search.until={undecided: 0.2}"):
        assert parse(MINIMAL, [setting]).sha256 == sha
    for setting in ("space.depth=5", "search.sampler=sobol", "criterion.at_least=0.7"):
        assert parse(MINIMAL, [setting]).sha256 != sha


def test_a_second_visit_of_a_point_gets_seeds_of_its_own() -> None:
    spec = parse(MINIMAL, ["training.seeds=3"])
    seeds = [set(spec.seeds(repeat)) for repeat in range(4)]
    assert all(len(s) == 3 for s in seeds)
    assert len(set.union(*seeds)) == 12
