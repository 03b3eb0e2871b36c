"""From text to spec: `read` turns YAML, with settings put over it, into a `SweepSpec` or one clear sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final, get_args

import yaml
from pydantic import BaseModel, ValidationError

from sweeps.spec import SweepSpec


def bundled() -> dict[str, str]:
    """Names and YAML texts of the bundled specs."""
    folder = resources.files("sweeps") / "specs"
    return {
        item.name.removesuffix(".yaml"): item.read_text()
        for item in sorted(folder.iterdir(), key=lambda i: i.name)
        if item.name.endswith(".yaml")
    }


def read(name_or_path: str, settings: Sequence[str] = ()) -> SweepSpec:
    """The spec of a bundled name or a YAML file, with `settings` like `training.steps=300` put over it.

    Raises:
        ValueError: in one sentence, what is wrong, where, and what would be right.
    """
    shipped = bundled()
    path = Path(name_or_path)
    if name_or_path in shipped:
        text = shipped[name_or_path]
    elif path.is_file():
        text = path.read_text(errors="replace")
    else:
        raise ValueError(
            f"spec {name_or_path!r} is neither a file nor a bundled spec{near(name_or_path, shipped)}; "
            f"bundled: {', '.join(shipped)}"
        )
    return parse(text, settings, origin=name_or_path)


def parse(text: str, settings: Sequence[str] = (), origin: str = "spec") -> SweepSpec:
    """`read` for a YAML text; `origin` names it in messages."""
    data = _yaml(text, origin)
    if not isinstance(data, dict):
        raise ValueError(f"{origin} is not a spec: it must be a YAML mapping with at least 'name' and 'space'")
    for setting in settings:
        _override(data, setting)
    try:
        spec = SweepSpec.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"{origin}: {_sentence(error)}") from None
    return spec


def near(word: str, names: Sequence[str] | Mapping[str, object]) -> str:
    """`"; did you mean 'x'?"`, or nothing if no name is near."""
    match = [name for case in (word, word.lower()) for name in difflib.get_close_matches(case, list(names), n=1)]
    return f" (did you mean {match[0]!r}?)" if match else ""


class _Strict(yaml.SafeLoader):
    """Keys are names, each given once: YAML would silently take the last. Whatever cannot be read has a place."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag not in _NAMES:
                what = f"{key.value} is none" if isinstance(key, yaml.ScalarNode) else "a list or a mapping is none"
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key must be a name, and {what}; put it in quotes if it is one", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and (base := _other_base(node.value)):
            problem = f"YAML reads {node.value} to base {base}; write the number without {_MARKS[base]}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):  # of the conversion, by what the text happens to be
            kind = node.tag.rpartition(":")[2]
            problem = f"{str(node.value)[:_SHOWN]!r} is no {kind}; put it in quotes if it is meant as a text"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


_NAMES: Final = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")
_NUMBERS: Final = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MARKS: Final = {8: "a leading 0", 60: "a colon"}
_SHOWN: Final = 40  # characters of a value that cannot be read


def _other_base(number: str) -> int | None:
    """The base to which YAML 1.1 reads a number that looks like a decimal one, as 064, which is 52 (080 is 80)."""
    digits = number.lstrip("+-")
    if ":" in digits:
        return 60
    return 8 if len(digits) > 1 and digits[0] == "0" and digits.replace("_", "").isdecimal() else None


def _yaml(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, _Strict)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(
            f"{origin} is not YAML{where}: {getattr(error, 'problem', None) or 'unreadable text'}"
        ) from None
    except RecursionError:
        raise ValueError(f"{origin} cannot be read: its brackets or indents are nested too deeply") from None


def _override(data: dict[str, Any], setting: str) -> None:
    path, sign, value = setting.partition("=")
    if not sign or not all(path.split(".")):
        raise ValueError(f"--set reads like training.steps=300, but got {setting!r}")
    *parents, leaf = path.split(".")
    node = data
    for part in parents:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ValueError(f"--set {setting!r}: {part} is not a group of fields")
        node[part] = dict(child)  # of its own: an alias of YAML is the same mapping elsewhere
        node = node[part]
    node[leaf] = _yaml(value, f"--set {setting!r}")


def _sentence(error: ValidationError) -> str:
    """The most telling problem as `where: what, but got this`."""
    problems = error.errors()
    field = _place(problems[0]["loc"])
    same = [p for p in problems if _place(p["loc"]) == field]
    deepest = max(same, key=lambda p: len(p["loc"]))  # that of a list's item rather than that the list is no range
    worst = next((p for p in problems if p["type"] == "extra_forbidden"), deepest)
    where = _place(worst["loc"])
    if worst["type"] == "extra_forbidden":
        valid = _fields(worst["loc"][:-1])
        where = ".".join(filter(None, (_place(worst["loc"][:-1]), str(worst["loc"][-1]))))  # even if it is called int
        return f"{where} is not a field{near(str(worst['loc'][-1]), valid)}; valid: {', '.join(valid)}"
    if worst["type"] == "missing":
        return f"{where} is missing"
    if worst["type"] == "value_error":
        told = worst["msg"].removeprefix("Value error, ")
        return told if told.startswith(where) else f"{where}: {told}"
    wanted = sorted({_want(p["msg"]) for p in problems if p["input"] is worst["input"]})
    return f"{where} {' or '.join(wanted)}, but got {worst['input']!r}"


def _want(message: str) -> str:
    """`Input should be a valid integer, unable to ...` as `should be a valid integer`."""
    law = re.sub(r"(, unable|, got| after validation).*", "", message)
    law = re.sub(r"valid dictionary or instance of \w+", "mapping of fields", law)
    return re.sub(r"^(Input|Value|String|List) ", "", law)


def _place(location: Sequence[object]) -> str:
    """The field of an error's location; its value tells which item of a list it is."""
    return ".".join(str(part) for part in location if not isinstance(part, int) and not _branch(part))


def _branch(part: object) -> bool:
    """Whether a part of an error's location names a branch of a union and not a field."""
    text = str(part)
    return "[" in text or text in ("Range", "int", "float", "constrained-int", "constrained-float")


def _fields(location: Sequence[object]) -> list[str]:
    """Fields of the model at `location`; of an axis, those of a range."""
    model: Any = SweepSpec
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            kind = model.model_fields[part].annotation
            kinds = (kind, *get_args(kind))
            model = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), model)
    return list(model.model_fields)
