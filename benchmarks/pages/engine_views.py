"""Views of the engine's benchmark: its parts, each a document of `pruneofa bench`, and the one over sparsities."""

from collections.abc import Iterator, Mapping
from typing import Any

from pages.views import Documents, Drawing, View, made_by
from pruneofa.reporting.bench import case_label, milliseconds
from pruneofa.reporting.bench_figure import bench_svg
from pruneofa.reporting.tables import markdown_table
from pruneofa.reporting.units import MISSING, format_percent

EVERY_TOKEN = "every token"
"""`model` of the engine's row in which it computes the last layer for every token, though the head reads the first."""

AUTHORS = "authors' scheme"
"""`model` of the engine's row with float attention products."""

_PEERS = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "torch": "PyTorch"}
_DRAWN = ("base", "real")


def _speed(documents: Documents) -> Drawing:
    """Medians of every case: the engine, the scheme beside it, and how many times as long each peer takes."""
    (document,) = documents.values()
    headings = ["model", "tokens", "threads", "engine ms", "every token ms", "float attention ms"]
    headings += [f"{name} ms" for name in _PEERS.values()]
    rows = []
    for _, part in _parts(document):
        for case in part["cases"]:
            own, *others = case["rows"]
            beside = {row["model"]: row["median_seconds"] for row in others}
            cells = [_model(part), f"{case['batch']} x {case['length']}", str(case["threads"])]
            cells += [milliseconds(own["median_seconds"])]
            cells += [milliseconds(beside[model]) if model in beside else MISSING for model in (EVERY_TOKEN, AUTHORS)]
            rows.append([*cells, *(_peer(case, name) for name in _PEERS)])
    table = markdown_table((headings, rows))
    figures = {
        f"engine-{name}.svg": bench_svg(_model(part), _subtitle(part), part["cases"])
        for name, part in _parts(document)
        if name in _DRAWN
    }
    pictures = "\n".join(f"![speed of {file.removesuffix('.svg')}](figures/{file})" for file in figures)
    return Drawing(f"{table}\n{pictures}", figures)


def _short(documents: Documents) -> Drawing:
    """The cases of one sequence and one thread alone, without pictures."""
    (document,) = documents.values()
    rows = []
    for _, part in _parts(document):
        for case in part["cases"]:
            if case["threads"] == 1:
                own = milliseconds(case["rows"][0]["median_seconds"])
                cells = [_model(part), f"{case['batch']} x {case['length']}", own]
                rows.append([*cells, *(_peer(case, name) for name in _PEERS)])
    return Drawing(markdown_table((["model", "tokens", "engine ms", *(f"{n} ms" for n in _PEERS.values())], rows)))


def _first(documents: Documents) -> Drawing:
    """Medians of the first calls of a turn, which find the caches as the other runtimes left them."""
    (document,) = documents.values()
    rows = []
    for _, part in _parts(document):
        for case in part["cases"]:
            own = case["rows"][0]
            cells = [_model(part), f"{case['batch']} x {case['length']}", str(case["threads"])]
            cells += [milliseconds(own["first_seconds"]), f"{own['first_seconds'] / own['median_seconds']:.2f}"]
            rows.append([*cells, *(_peer(case, name, "first_seconds") for name in _PEERS)])
    headings = ["model", "tokens", "threads", "engine, first ms", "times its median"]
    return Drawing(markdown_table(([*headings, *(f"{name}, first ms" for name in _PEERS.values())], rows)))


def _threads(documents: Documents) -> Drawing:
    """How many times the speed of one thread each runtime reaches with more."""
    (document,) = documents.values()
    rows = []
    for _, part in _parts(document):
        alone = {(case["batch"], case["length"]): case for case in part["cases"] if case["threads"] == 1}
        for case in part["cases"]:
            one = alone.get((case["batch"], case["length"]))
            if case["threads"] > 1 and one is not None:
                cells = [_model(part), f"{case['batch']} x {case['length']}", str(case["threads"])]
                rows.append([*cells, *(_gain(one, case, name) for name in ("engine", *_PEERS))])
    return Drawing(markdown_table((["model", "tokens", "threads", "engine", *_PEERS.values()], rows)))


def _sparsity(documents: Documents) -> Drawing:
    """The engine from sparsity to sparsity beside one peer, and where it breaks even."""
    (document,) = documents.values()
    cases = document["parts"]["sparsity"]["sparsities"]
    shares = [sparsity for sparsity, _ in cases[0]["points"]]
    headings = ["tokens", "threads", *(f"{format_percent(share, 0)} %" for share in shares)]
    headings += ["OpenVINO ms", "break-even %"]
    rows = []
    for case in cases:
        times = [milliseconds(seconds) for _, seconds in case["points"]]
        peer = case["peer"]
        rows.append(
            [
                f"{case['batch']} x {case['length']}",
                str(case["threads"]),
                *times,
                f"{milliseconds(peer['median_seconds'])} ({peer['form']})",
                break_even_text(case),
            ]
        )
    return Drawing(markdown_table((headings, rows)))


def break_even_text(case: Mapping[str, Any]) -> str:
    """The sparsity from which on the engine is quicker, in percent, as far as it was measured."""
    found, points, peer = case["break_even"], sorted(case["points"]), case["peer"]["median_seconds"]
    if found is not None:
        return format_percent(found, 0)
    return (
        f"below {format_percent(points[0][0], 0)}"
        if points[0][1] < peer
        else f"above {format_percent(points[-1][0], 0)}"
    )


def _rates(documents: Documents) -> Drawing:
    """What the engine did a second, and what that would be with zeros counted."""
    (document,) = documents.values()
    headings = ["model", "case", "billion products/s done", "counting zeros"]
    rows = []
    for _, part in _parts(document):
        for case in part["cases"]:
            own = case["rows"][0]
            rates = (own["actual_products_per_second"], own["dense_equivalent_products_per_second"])
            rows.append([_model(part), case_label(case), *(f"{rate / 1e9:,.1f}" for rate in rates)])
    return Drawing(markdown_table((headings, rows)))


def _notes(documents: Documents) -> Drawing:
    """Which forms the peers had, how near their answers were, what disturbed, and how it was made."""
    (document,) = documents.values()
    lines = []
    for name, part in _parts(document):
        for peer, label in _PEERS.items():
            tried = _tried(part, peer)
            if tried:
                lines.append(f"{_model(part)} ({name}), {label}: {tried}.")
        lines += [f"{_model(part)} ({name}): {line}" for line in part["verdict"]]
    made = {made_by(part): None for part in document["parts"].values()}
    versions = ", ".join(f"{_PEERS[name]} {version}" for name, version in _versions(document).items())
    listed = "\n".join(f"- {line}" for line in [*lines, f"Versions: {versions}."])
    return Drawing(f"{listed}\n\n" + "\n\n".join(made))


def _parts(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The parts that are documents of `pruneofa bench`."""
    for name in ("base", "minilm", "float", "real"):
        if name in document["parts"]:
            yield name, document["parts"][name]


def _model(part: Mapping[str, Any]) -> str:
    model = part["model"]
    return f"{model['name']}, {'int8' if model['int8'] else 'float'}, {format_percent(model['sparsity'], 0)} %"


def _subtitle(part: Mapping[str, Any]) -> str:
    machine = part["machine"]
    return f"median ms of a call; less is better. {machine['processor']}, {machine['cores']} cores; {part['kernel']}"


def _row(case: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """What a runtime reached with the model that the engine was timed on."""
    own = case["rows"][0]
    return next((row for row in case["rows"] if row["name"] == name and row["model"] == own["model"]), None)


def _peer(case: Mapping[str, Any], name: str, key: str = "median_seconds") -> str:
    """A peer's time, and how many times the engine's that is: of medians by pairs of turns, of others as they stand."""
    found = _row(case, name)
    if found is None:
        return MISSING
    ratio = found["ratio"] if key == "median_seconds" else found[key] / case["rows"][0][key]
    return f"{milliseconds(found[key])} ({ratio:.1f}x)"


def _gain(one: Mapping[str, Any], many: Mapping[str, Any], name: str) -> str:
    before, after = _row(one, name), _row(many, name)
    if before is None or after is None:
        return MISSING
    return f"{before['median_seconds'] / after['median_seconds']:.2f}"


def _tried(part: Mapping[str, Any], name: str) -> str:
    """The trials of a peer's forms, and its answers' largest difference, over all cases."""
    rows = [(case, row) for case in part["cases"] for row in case["rows"] if row["name"] == name and row["agreement"]]
    if not rows:
        return ""
    trials = "; ".join(
        f"{case_label(case)} "
        + " / ".join(f"{form} {milliseconds(seconds)}" for form, seconds in row["trials_seconds"].items())
        for case, row in rows
        if row["trials_seconds"]
    )
    worst = max((row["agreement"] for _, row in rows), key=lambda agreement: float(agreement["difference"]))
    least = min(row["agreement"]["same"] for _, row in rows)
    answers = (
        f"answers differ by {worst['difference']:.2g} at most, of values up to {worst['largest']:.2g}; "
        f"labels equal in {format_percent(least, 1)} % or more"
    )
    return f"{answers}. Forms tried, ms: {trials}" if trials else answers


def _versions(document: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in document["parts"].values():
        found |= {name: part["packages"][name].partition("-")[0] for name in _PEERS if name in part["packages"]}
    return found


VIEWS: Mapping[str, View] = {
    "speed": _speed,
    "speed short": _short,
    "speed first": _first,
    "speed threads": _threads,
    "speed sparsity": _sparsity,
    "speed rates": _rates,
    "speed notes": _notes,
}
