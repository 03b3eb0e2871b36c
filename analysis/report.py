"""One self-contained HTML page: figures, tables, method, provenance. It loads nothing, and it prints."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from html import escape
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow.compute as pc

from analysis import compare, joining, mapinfo, maps, ratios, summary, tables
from analysis.draw.agreement import agreement_figure
from analysis.draw.canvas import vectors
from analysis.draw.limits import frontier_figure
from analysis.draw.region import map_figure
from analysis.markup import document, figure, paragraphs, table, table_if_any
from analysis.outcome import MEANING, Outcome
from analysis.predictions import descents
from analysis.region import ACTIVE, FEW_TRIALS, RegionModel
from analysis.schema import VERSION
from analysis.store import Export
from analysis.words import counted


def page(export: Export, abscissa: str | None = None) -> str:
    """The page, as text. Sweeps without a map get a page too, which says why there is none."""
    model = maps.fitted(export.trials)
    found = summary.summarize(export, model)
    parts = [
        _header(found),
        *_results(export, found, model, abscissa),
        _outcomes(found),
        _method(found, _theory_knows(export)),
        _provenance(export),
    ]
    return document(f"Trainable region: {found.sweep}", "".join(parts))


def _header(found: summary.Summary) -> str:
    facts = {
        "trials": f"{found.trials:,}",
        "networks trained": f"{found.networks:,}",
        "training time, all packs": _duration(found.seconds),
        "floating-point operations": f"{found.flops:.2g}",
        "trained means": found.criterion or "see the spec",
    }
    if found.audit is not None and found.audit.n:
        audit = found.audit
        facts[f"map error on {counted(audit.n, 'audit trial')}, 95 % interval"] = (
            f"{100 * audit.error:.1f} % ({tables.percents(audit.low, audit.high)})"
        )
    listed = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    question = f'<p class="question">{escape(found.question)}</p>' if found.question else ""
    texts = [summary.size_text(found) if found.wall_seconds is not None else "", found.joined]
    notes = "".join(f'<p class="took">{escape(text)}</p>' for text in texts if text)
    return f'<header><h1>{escape(found.sweep)}</h1>{question}<dl class="facts">{listed}</dl>{notes}</header>\n'


def _results(export: Export, found: summary.Summary, model: RegionModel | None, abscissa: str | None) -> Iterable[str]:
    if found.limits is None:
        yield f"<h2>No map</h2><p>{escape(found.note)}.</p>\n"
        if found.failed < found.trials:
            yield from _comparison(export, found, None)
        return
    info = maps.region_map(
        export.trials, sweep=found.sweep, criterion=found.criterion, model=model, abscissa=abscissa, task=export.task
    )
    x = info.x.name.replace("_", " ")
    yield "<h2>The trainable region</h2>"
    yield _figure(map_figure(info), "Map of the trainable region of each scheme",
        "Colour: probability that a point lies in the trainable region, where at least half of the seeds train at the "
        "best learning rate. Solid: the frontier and its 90 % band. Dashed: the depth limit that theory predicts for "
        f"the start of training{info.at_rate}. Marks: trials, filled by the share of seeds that trained.")  # fmt: skip
    yield table(f"Depth limits {tables.headline(found.limits)}", *tables.limit_rows(found.limits))
    yield paragraphs(tables.notes(found.limits, export.trials))
    yield f"<p>{escape(summary.audit_text(found.audit))}</p>\n<h2>Depth limits</h2>"
    yield _figure(frontier_figure(info), "Depth limit of each scheme", f"Depth limits over the {x}.")
    yield from _comparison(export, found, info)


def _comparison(export: Export, found: summary.Summary, info: mapinfo.MapInfo | None) -> Iterable[str]:
    """What theory and training, and scheme and scheme, have in common; of depth limits if there is a map."""
    agreement = compare.agreement(export.trials, export.task)
    yield "<h2>Theory and measurement</h2>"
    if info is not None:
        yield _figure(agreement_figure(info), "Measured beside predicted depth limits",
            "Markers with bars: measured, with the 90 % band. Upright strokes: predicted; at the far right, where "
            "theory sees no limit. It is about the start of training, and was not fitted to these data.")  # fmt: skip
    yield table("Does theory say rightly whether a point trains?", *tables.agreement_rows(agreement))
    yield paragraphs(tables.reasons(agreement))
    between = [] if found.limits is None else ratios.ratios(found.limits)
    paired = compare.paired(export.trials, export.replicates)
    if between or paired:
        yield "<h2>Scheme against scheme</h2>"
    if between and found.limits is not None:
        yield table_if_any(f"Ratios of depth limits {tables.headline(found.limits)}", *tables.ratio_rows(between))
        yield paragraphs(filter(None, [tables.ratio_note(between)]))
    if paired:
        yield table_if_any("On the same points and seeds", *tables.paired_rows(paired))
        yield paragraphs(["The interval is over points that one of the two schemes won; 50 % is no difference."])
        yield paragraphs(filter(None, [tables.paired_note(paired)]))
    changes = [] if found.limits is None else ratios.changes(found.limits)
    if changes:
        yield "<h2>What the axes do to the depth limits</h2>"
        yield table_if_any("Ratios of the depth limits of a scheme", *tables.ratio_rows(changes, "values"))
        yield paragraphs(filter(None, [tables.ratio_note(changes)]))


def _outcomes(found: summary.Summary) -> str:
    present = [o for o in Outcome if any(tally.outcomes[o] for tally in found.tallies)]
    meanings = "".join(f"<li><b>{o}</b>: {escape(MEANING[o])}</li>" for o in present)
    return f"<h2>Outcomes</h2>{table('Trials by outcome', *tables.tally_rows(found))}<ul>{meanings}</ul>\n"


def _method(found: summary.Summary, theory_knows: str) -> str:
    rule = f" Here it is <code>{escape(found.criterion)}</code>." if found.criterion else ""
    map_ = _MAP_METHOD if found.limits is not None else ""
    return f"""<h2>Method</h2>
<p>Each trial is a point of the search space. It was trained with every seed of the sweep at every learning rate of its
list, and is judged at the rate at which most seeds trained, so that a bad step size is not mistaken for an
untrainable network. A network is trained at the first recorded step at which the criterion holds.{rule} Divergence is
an outcome; only trials that the infrastructure lost are left out.</p>
{map_}<p>Theory follows the signal, the gradient and the angle between inputs through the network at initialization
(mean-field maps; the drift and spread of a finite width are exact for Gaussian and orthogonal weights without a bias,
and with one close approximations; for smooth activations they are to first order, and for weights that are fitted to
the data those of the signal are left out). {theory_knows}</p>
"""


def _theory_knows(export: Export) -> str:
    trained = descents(export.trials, export.task).values()
    rates = [descent.learning_rates for descent in trained if descent.rate is not None]
    plain = any(descent.plain for descent in trained)
    data = all(descent.between is not None for descent in trained)
    known = [_KNOWN_RATE.format(" and ".join(rates))] * bool(rates) + [_KNOWN_STEPS] * plain + [_KNOWN_DATA] * data
    unknown = ["the learning rate"] * (not rates) + ["the number of steps"] * (not plain) + ["the data"] * (not data)
    some, last = ", ".join(unknown[:-1]), unknown[-1:]
    return " ".join([*known, *(f"It does not know {some}{' or ' * bool(some)}{name}." for name in last)])


_KNOWN_STEPS = """\
Inputs have to differ as much as it takes to tell apart, within the steps of the budget, the share of them that the
criterion asks for."""
_KNOWN_DATA = "Of the data it knows which share of their variance lies between the classes, and no more."
_KNOWN_RATE = """\
Of the learning rates it knows {}, the least and the greatest that were a trial's best: whether gradient descent in an
MLP without normalization is stable at the least, and whether a rate up to the greatest is enough for the steps."""
_MAP_METHOD = f"""\
<p>The map is a logistic Gaussian-process classifier of the outcomes, of at most {ACTIVE} trials, most of them those
nearest the frontier (expectation propagation; Rasmussen and Williams 2006, algorithms 3.1, 3.5 and 5.1). It is averaged
over hyperparameters that are drawn by their evidence, by Laplace's approximation; of more than {FEW_TRIALS} trials it
has those of the most evidence. Where the evidence is for it, its kernel knows that there is a frontier along the depth.
The frontier is the first depth at which the latent log-odds fall below zero; its band holds 90 % of 400 joint posterior
draws. Rates per cell are not shown: trials that were placed near the frontier crowd on one side of a cell. The map
error is measured on audit trials, which were placed uniformly at random, by a model that has not seen them; its
interval is Wilson's.</p>
"""


def _provenance(export: Export) -> str:
    trials = export.trials
    rows = [["sweep", summary.name(export)]]
    rows += [[name.replace("_", " "), _distinct(trials[name].to_pylist())] for name in _ORIGIN]
    finished = pc.min_max(trials["finished_at"]).as_py()  # pyright: ignore[reportAttributeAccessIssue]
    rows.append(["finished", " to ".join(t.strftime("%Y-%m-%d %H:%M UTC") for t in finished.values() if t)])
    rows.append(["criterion", joining.criterion(export)])
    rows.append(["page made with", ", ".join([f"Python {platform.python_version()}", *_versions()])])
    rows.append(["schema version", VERSION])
    texts = [file.read_text(encoding="utf-8") for folder in export.folders if (file := folder / "spec.yaml").is_file()]
    shown = "".join(f"<pre>{escape(text)}</pre>" for text in dict.fromkeys(texts)) or "<p>There is no spec.yaml.</p>"
    return f"<h2>Provenance</h2>{table('', ['', ''], rows, 'Provenance')}<h3>spec.yaml</h3>{shown}\n"


_ORIGIN = ("dataset", "architecture", "activation", "normalization", "optimizer", "batch_size", "steps", "device",
           "git_commit", "spec_sha256")  # fmt: skip


def _versions() -> Iterable[str]:
    for name in ("isoinit", "numpy", "scipy", "pyarrow", "matplotlib"):
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} (not installed as a package)"


def _distinct(values: Sequence[Any]) -> str:
    return ", ".join(sorted({str(value) for value in values if value is not None})) or "unknown"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _figure(made: Any, alt: str, caption: str) -> str:
    return figure(vectors(made, "svg"), made.get_figwidth(), alt, caption)
