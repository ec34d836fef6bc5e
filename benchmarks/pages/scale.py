"""Views of what pre-training costs and survives: corpus, steps, full-size models, killed runs."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pages.views import Documents, Drawing, View, made_by
from pruneofa.reporting.tables import markdown_table
from pruneofa.reporting.units import format_bytes, format_percent

_STEPS = {
    "transformers": "transformers' loop",
    "transformers+malloc": "the same, freed memory kept",
    "padded": "ours, batches padded",
    "bucketed": "ours, batches of similar lengths",
    "packed": "ours, packed without padding",
    "compiled": "ours, bucketed, layers compiled",
}


def _corpus(documents: Documents) -> Drawing:
    """Building a corpus beside the bare tokenizer: time, share of the sentence splitter, memory."""
    (document,) = documents.values()
    header = ["form", "tokens", "tokenizer alone, s", "build, s", "ratio", "sentence splitting %"]
    rows = [
        [
            row["form"],
            f"{row['tokens']:,}",
            f"{row['tokenizer_seconds']:.1f}",
            f"{row['seconds']:.1f}",
            f"{row['ratio']:.2f}",
            format_percent(row["sentence_splitting_share"], 1),
        ]
        for row in document["rows"]
    ]
    text = (
        f"{markdown_table((header, rows))}\n{document['megabytes']:g} MB of text, {document['processes']} processes, "
        f"medians of {document['rounds']} paired rounds."
    )
    if document["memory"]:
        memory = [
            [
                f"{row['megabytes']:g} MB",
                row["form"],
                *(format_bytes(row[part]) for part in ("parent", "worker", "peak")),
            ]
            for row in document["memory"]
        ]
        text += "\n\n" + markdown_table((["text", "form", "parent", "largest worker", "all"], memory), (0, 1)).strip()
    return Drawing(f"{text}\n\n{made_by(document)}")


def _steps(documents: Documents) -> Drawing:
    """Steps of student pruning beside transformers' loop: rate, padding, memory, the hardware's limit."""
    (document,) = documents.values()
    header = [
        "loop",
        "tokens/s",
        "ratio",
        "processor ms/token",
        "padding %",
        "peak memory",
        "of a large product's rate %",
    ]
    rows = [
        [
            _STEPS[name],
            f"{row['tokens_per_second']:,.0f}",
            f"{row['ratio']:.2f}",
            f"{1000 * row['processor_seconds_per_token']:.2f}",
            format_percent(row["padding"], 1),
            format_bytes(round(row["peak_bytes"])),
            format_percent(row["share_of_matmul_rate"], 1),
        ]
        for name, row in document["variants"].items()
    ]
    settings, rate = document["settings"], document["matmul_flops_per_second"]
    return Drawing(
        f"{markdown_table((header, rows))}\n{settings['model']}, {settings['batch_size']} sequences of up to "
        f"{settings['max_length']} tokens, the teacher on {settings['tokens']} tokens, "
        f"{'bfloat16' if document['bfloat16'] else 'float32'}, {document['threads']} threads; medians of "
        f"{settings['rounds']} rounds of {settings['steps']} steps, by turns; ratios within a round. Products need "
        f"{document['model_flops_per_token'] / 1e6:,.0f} MFLOP a token; at the {rate / 1e9:,.0f} GFLOP/s of one large "
        f"product that would be {rate / document['model_flops_per_token']:,.0f} tokens/s.{_profile(document)}\n\n"
        f"{made_by(document)}"
    )


def _profile(document: Mapping[str, Any]) -> str:
    if "profile" not in document:
        return ""
    shares = sorted(document["profile"].items(), key=lambda item: -item[1])
    return f" Where the time goes: {', '.join(f'{kind} {format_percent(share, 0)} %' for kind, share in shares)}."


def _full_size(documents: Documents) -> Drawing:
    """Stages of full-size models: step time and peak memory."""
    (document,) = documents.values()
    header = ["model", "parameters", "prunable weights", "stage", "s/step", "processor s/step", "peak memory"]
    rows = [
        [
            name,
            f"{model['parameters']:,}",
            f"{model['prunable_weights']:,}",
            stage,
            f"{row['seconds_per_step']:.2f}",
            f"{row['processor_seconds_per_step']:.2f}",
            format_bytes(row["peak_bytes"]),
        ]
        for name, model in document["models"].items()
        for stage, row in model["stages"].items()
    ]
    settings = document["settings"]
    return Drawing(
        f"{markdown_table((header, rows), (0, 3))}\nRandom weights, {settings['batch_size']} x {settings['length']} "
        f"tokens, {settings['steps']} steps of each stage, of which the first is not timed; {document['device']}, "
        f"{document['threads']} threads.\n\n{made_by(document)}"
    )


def _endurance(documents: Documents) -> Drawing:
    """Killed and resumed runs, by the moment of the kill."""
    (document,) = documents.values()
    kills = Counter(run["phase"] for run in document["runs"])
    same = Counter(run["phase"] for run in document["runs"] if all(run["identical"].values()))
    rows = [[phase, str(count), str(same[phase])] for phase, count in kills.items()]
    rows.append(["all", str(document["kills"]), str(document["identical"])])
    halves, damaged = (sum(run[name] for run in document["runs"]) for name in ("half_written", "damaged"))
    header = ["killed in", "runs", "bit-identical at the end"]
    return Drawing(
        f"{markdown_table((header, rows))}\n{document['steps']} steps with a checkpoint every "
        f"{document['checkpoints_every']}. {halves} of the kills left a checkpoint half written; in "
        f"{damaged} runs the newest one was altered before resuming. Compared: weights, masks, Adam's moments, "
        f"learning rates, losses.\n\n{made_by(document)}"
    )


VIEWS: Mapping[str, View] = {
    "corpus": _corpus,
    "steps": _steps,
    "full size": _full_size,
    "endurance": _endurance,
}
"""Name of a view -> what draws it."""
