"""Views of what small models cost: pruning, quantization, rate and accuracy, packed files; and of fuzzed readers."""

from collections.abc import Mapping
from typing import Any

from pages.views import Documents, Drawing, View, made_by
from pruneofa.reporting.tables import markdown_table
from pruneofa.reporting.units import MISSING, format_bytes, format_percent, format_ratio, metric_label

_WEIGHTS = {"per_channel": "per channel", "per_tensor": "per tensor"}
_MASKS = {"by_magnitude": "synthetic, smallest pruned", "at_random": "synthetic, random mask"}


def _quantization(documents: Documents) -> Drawing:
    """Float, calibrated and trained forms of one sparse model: metrics, ratios, the bound, bytes."""
    (document,) = documents.values()
    metrics = list(document["rows"][0]["metrics"])
    header = ["variant", *(f"{metric_label(name)} %" for name in metrics), "encoder bytes", "of these scales"]
    header += ["entropy bound", "ratio nominal", "ratio real", "file bytes"]
    rows = [
        [
            row["variant"],
            *(format_percent(row["metrics"][name]) for name in metrics),
            format_bytes(row["bytes_encoder"]),
            format_bytes(row["bytes_scales"]),
            format_bytes(round(row["entropy_bound_bytes"])),
            format_ratio(row["nominal_ratio"]),
            format_ratio(row["real_ratio"]),
            format_bytes(row["bytes_total"]),
        ]
        for row in document["rows"]
    ]
    return Drawing(f"{markdown_table((header, rows))}\n{made_by(document)}")


def _rate(documents: Documents) -> Drawing:
    """Sparsity and rule against bits to a weight and accuracy; the chosen model apart."""
    (document,) = documents.values()
    header = ["sparsity %", "weights", "made by", "bits a weight", "ratio nominal", "ratio real"]
    header += ["accuracy on the selection part %", "on the evaluation part %"]
    rows = [
        [
            format_percent(row["sparsity"]),
            row["rule"],
            row["method"],
            f"{row['bits_per_weight']:.3f}",
            format_ratio(row["nominal_ratio"]),
            format_ratio(row["real_ratio"]),
            format_percent(row["selection_accuracy"]),
            MISSING if row.get("evaluation_accuracy") is None else format_percent(row["evaluation_accuracy"]),
        ]
        for row in document["rows"]
    ]
    dense, steps = document["dense_accuracy"], document["qat_steps"]
    trained = f" and was trained with rounding for {steps} steps" if steps else "; none was trained with rounding"
    return Drawing(
        f"{markdown_table((header, rows), text_columns=(1, 2))}\n"
        f"The dense model: {format_percent(dense['selection'])} % and {format_percent(dense['evaluation'])} %. Each "
        f"further rung of sparsity has {document['rung_steps']} steps at the rate "
        f"{document['rung_learning_rate']:g}. One seed. Of the models at least {document['aim']:g}x smaller the one "
        f"that does best on the selection part was scored on the evaluation part, which took no part in any choice"
        f"{trained}.\n\n{made_by(document)}"
    )


def _one_shot(documents: Documents) -> Drawing:
    """One-shot pruning: fidelity to the dense encoder beside magnitude, STS-B, time and memory."""
    (document,) = documents.values()
    header = [
        "sparsity %",
        "texts",
        "tokens",
        "cosine",
        "Spearman",
        "same 10 %",
        "magnitude: cosine",
        "Spearman",
        "same 10 %",
    ]
    header += ["STS-B", "of dense %", "s", "CPU s", "peak memory"]
    dense = document["stsb_test_dense"]
    rows = []
    for row in sorted(document["rows"], key=lambda row: row["sparsity"]):
        cells = [format_percent(row["measured_sparsity"]), str(row["texts"]), f"{row['tokens']:,}"]
        for found in (row["fidelity"]["mean"], row["fidelity_of_magnitude"]):
            cells += [f"{found['cosine']:.3f}", f"{found['spearman']:.3f}", f"{100 * found['same_10']:.1f}"]
        cells += [f"{row['stsb_test']:.2f}", f"{100 * row['stsb_test'] / dense:.1f}", f"{row['seconds']:.0f}"]
        rows.append([*cells, f"{row['cpu_seconds']:.0f}", format_bytes(row["peak_memory_mb"] * 2**20)])
    held = ", ".join(f"{count} {kind}" for kind, count in document["held_out"].items())
    note = f" Note: {document['note']}." if document["note"] else ""
    return Drawing(
        f"{markdown_table((header, rows), text_columns=())}\n"
        f"Dense: STS-B {dense:.2f}. Fidelity on {held} (means over the kinds).{note}\n\n{made_by(document)}"
    )


def _packing(documents: Documents) -> Drawing:
    """Both forms of the file: bits to a weight, times the bound, ratios, seconds, memory."""
    header = ["model", "pruned", "scales", "form", "encoder bytes", "bits a weight", "times entropy", "ratio nominal"]
    header += ["ratio real", "zlib, bits", "lzma, bits", "pack s", "unpack s", "CPU s, both", "peak memory"]
    rows = [_packing_row(row) for document in documents.values() for row in document["rows"]]
    notes = "\n\n".join(made_by(document) for document in documents.values())
    return Drawing(
        f"{markdown_table((header, rows), text_columns=(0, 1, 2, 3))}\n"
        "Bytes are of the encoder's Linear weights, index and scales included. Times entropy leaves out the scales: it "
        "is what positions and values take, over the entropy of the positions, taken as a plain random mask, and of "
        "the values given their scales. Each file was unpacked and compared with what went in, byte by byte. zlib and "
        f"lzma have the dense integers, without scales.\n\n{notes}"
    )


def _packing_row(row: Mapping[str, Any]) -> list[str]:
    synthetic = row["model"] in ("base", "large")
    processor = row["pack_processor_seconds"] + row["unpack_processor_seconds"]
    return [
        f"BERT-{row['model'].capitalize()}" if synthetic else row["model"],
        _MASKS[row["pruned"]] if synthetic else f"{format_percent(row['sparsity'])} %, real",
        _WEIGHTS[row["weights"]],
        row["form"],
        format_bytes(row["bytes_encoder"]),
        f"{row['bits_per_weight']:.3f}",
        f"{row['times_entropy']:.4f}",
        format_ratio(row["nominal_ratio"]),
        format_ratio(row["real_ratio"]),
        f"{row['zlib_bits_per_weight']:.3f}",
        f"{row['lzma_bits_per_weight']:.3f}",
        f"{row['pack_seconds']:.1f}",
        f"{row['unpack_seconds']:.1f}",
        f"{processor:.1f}",
        format_bytes(row["peak_memory_bytes"]),
    ]


def _fuzz(documents: Documents) -> Drawing:
    """Mutated files against the readers, by what was done to them."""
    (document,) = documents.values()
    header = ["file and mutation", "cases", "refused", "read correctly", "faults"]
    rows = [
        [name.replace("/", ": "), *(f"{row[key]:,}" for key in ("cases", "refused", "read", "fault"))]
        for name, row in document["rows"].items()
    ]
    rows.append(["all", *(f"{document[key]:,}" for key in ("cases", "refused", "read", "faults"))])
    return Drawing(
        f"{markdown_table((header, rows))}\n"
        f"{document['checks_that_objected']} of the readers' {document['checks_in_the_readers']} checks objected at "
        f"least once. The slowest case took {document['slowest_seconds']:.2f} s of processor time (allowed "
        f"{document['seconds_limit']:.0f} s), the largest peak of memory, measured in one case of 64, was "
        f"{format_bytes(document['peak_bytes'])} (address space allowed beside the libraries: "
        f"{format_bytes(document['memory_limit_bytes'])}).\n\n{made_by(document)}"
    )


VIEWS: Mapping[str, View] = {
    "quantization": _quantization,
    "one_shot": _one_shot,
    "rate": _rate,
    "packing": _packing,
    "fuzz": _fuzz,
}
