"""The pre-training corpus: documents from a source, tokenised, split, cut into examples, written as Arrow files.

A corpus folder holds `train/` and (unless `validation_fraction` is 0) `validation/`, each a row of Arrow files, and
`corpus.json`: settings, versions, statistics, the source's files and the tokenizer's hash. Both depend on source,
settings and tokenizer alone. What cannot, the time it took, is in `times.json`.

Building goes over the source in two steps: first each shard of documents becomes token ids on the disk, then each shard
of token ids becomes examples. Shards are made in parallel, each is finished or not there, and memory holds a few of
them, however long the source is.
"""

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pruneofa.atomic import replacing_folder, write_json
from pruneofa.cores import usable_cores
from pruneofa.data.pretraining.building.advice import advice, check_sentences
from pruneofa.data.pretraining.building.config import CorpusConfig
from pruneofa.data.pretraining.building.documents import read_batches
from pruneofa.data.pretraining.building.example_shards import (
    SPLITS,
    ExampleSettings,
    ExampleTask,
    ShardList,
    make_examples,
)
from pruneofa.data.pretraining.building.examples import Frame
from pruneofa.data.pretraining.building.folder import FORMAT, RECORD_NAME, TIMES_NAME, load_corpus
from pruneofa.data.pretraining.building.pool import TaskRunner
from pruneofa.data.pretraining.building.sentences import splitter_facts
from pruneofa.data.pretraining.building.statistics import corpus_statistics, summed_seconds
from pruneofa.data.pretraining.building.tokenizing import TokenizeSettings, TokenizeTask, tokenize_shard
from pruneofa.data.pretraining.building.validation import validation_threshold
from pruneofa.data.pretraining.building.work_folder import WorkFolder
from pruneofa.data.sources.files import row_extension
from pruneofa.data.sources.reading import describe_source
from pruneofa.data.sources.wikitext import wikitext_facts
from pruneofa.data.tokenization import check_max_length, frame_tokens, pair_frame, tokenizer_hash, tokenizer_rules

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["CorpusConfig", "build_corpus", "load_corpus"]

_logger = logging.getLogger(__name__)

_LOG_SECONDS = 10.0


def build_corpus(
    config: CorpusConfig,
    tokenizer: "PreTrainedTokenizerBase",
    output_dir: str | Path,
    model_max_length: int | None = None,
    *,
    processes: int | None = None,
    work_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Read, tokenise and cut the source, and write the corpus folder, all of it or nothing.

    The split is by a hash of the document's text, so a text that occurs twice is on one side only. A build that was
    broken off, in whatever way, goes on with the shards that it had finished when it is called again, and ends the
    same.

    Args:
        config: what to read and how to cut it.
        tokenizer: a fast tokenizer.
        output_dir: folder to write; an existing one is replaced at the end.
        model_max_length: longest sequence that the model takes, in tokens.
        processes: how many work; as many as there are cores by default. More of them need more memory: about
            60 bytes for each character of a shard.
        work_dir: where finished shards are kept until all are; a hidden folder beside `output_dir` by default.

    Returns:
        Statistics: see `pruneofa.data.pretraining.building.statistics`.

    Raises:
        ConfigurationError: a package that the settings ask for is missing.
        DataError: `max_length` over the model's limit, a faulty source, no text, no document left for a split.
        PruneofaError: a worker process was killed.
    """
    began = time.perf_counter()
    check_max_length(config.max_length, model_max_length)
    start, end = frame_tokens(tokenizer)
    output = Path(output_dir)
    identity = _identity(config, tokenizer)
    work = WorkFolder(Path(work_dir) if work_dir is not None else output.parent / f".{output.name}.building", identity)
    runner = TaskRunner(processes or usable_cores())
    try:
        with runner:
            sizes = [item.get("bytes") for item in identity["source"]]
            token_facts = _tokenize(config, tokenizer_rules(tokenizer), work, runner, sizes)
            shards = ShardList(
                tuple(map(work.token_path, range(len(token_facts)))),
                tuple({key: facts[key] for key in ("documents", "sentences", "tokens")} for facts in token_facts),
            )
            settings = ExampleSettings(
                form=config.form,
                max_length=config.max_length,
                short_probability=config.short_sequence_probability,
                seed=config.seed,
                frame=Frame(start, end, *pair_frame(tokenizer)),
                unknown=tokenizer.unk_token_id,
                validation_below=validation_threshold(config, shards, work.dropped(token_facts)),
            )
            check_sentences(config, token_facts)
            example_facts = _make_examples(shards, settings, work, runner)
        statistics = corpus_statistics(token_facts, example_facts)
        seconds = summed_seconds(token_facts, example_facts) | {"elapsed": time.perf_counter() - began}
        times = {"processes": runner.processes, "seconds": seconds}
        _publish(work, output, _record(identity, statistics, token_facts, example_facts), times)
    except BaseException:
        if work.is_empty:
            work.remove()
        raise
    work.remove()
    extensions = [row_extension(Path(item.get("file", ""))) for item in identity["source"]]
    for warning in advice(config, extensions, token_facts, statistics):
        _logger.warning("corpus: %s", warning)
    documents, examples = statistics["documents"], statistics["train"]["examples"]
    _logger.info(
        "corpus of %s document%s, %s training example%s",
        f"{documents:,}",
        "" if documents == 1 else "s",
        f"{examples:,}",
        "" if examples == 1 else "s",
    )
    return statistics


def _identity(config: CorpusConfig, tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """All that decides the result."""
    source = describe_source(config.source)
    versions: dict[str, Any] = {name: metadata.version(name) for name in ("pruneofa", "tokenizers")}
    if config.form != "blocks":
        versions["sentence_splitter"] = splitter_facts(config.language)
    if any(row_extension(Path(item.get("file", ""))) == ".xml" for item in source):
        versions["wikitext_parser"] = wikitext_facts()
    return {
        "format": FORMAT,
        "settings": config.model_dump(mode="json"),
        "tokenizer_sha256": tokenizer_hash(tokenizer),
        "versions": versions,
        "source": source,
    }


def _tokenize(
    config: CorpusConfig, rules: str, work: WorkFolder, runner: TaskRunner, sizes: list[int | None]
) -> list[dict[str, Any]]:
    """Bring every shard of the source to token ids; return what was counted of each. `sizes` are the files' bytes."""
    count = work.shard_count()
    if count is not None:
        return work.token_facts(count)
    settings = TokenizeSettings(
        rules, None if config.form == "blocks" else config.language, config.seed, config.line_end == "sentence"
    )
    first, position = work.resume_at()
    if first:
        _logger.info("%d shards are finished, going on with document %d", first, position.number)
    count = first

    def tasks() -> Iterator[TokenizeTask]:
        nonlocal count
        progress = _Progress(_share_read(sizes, position.part))
        for batch in read_batches(config, first, position):
            count = batch.shard + 1
            progress.report(_share_read(sizes, batch.end.part), "%d documents read, %d shards", batch.end.number, count)
            if not work.has_tokens(batch):
                yield TokenizeTask(batch, settings, work.token_path(batch.shard))

    for _ in runner.run(tokenize_shard, tasks()):
        pass
    work.set_shard_count(count)
    return work.token_facts(count)


def _make_examples(
    shards: ShardList, settings: ExampleSettings, work: WorkFolder, runner: TaskRunner
) -> list[dict[str, Any]]:
    """Make the examples of every shard; return what was counted of each."""
    progress = _Progress(0.0)
    count = len(shards.paths)
    missing = [shard for shard in range(count) if not work.has_examples(shard)]
    waiting = len(missing)
    tasks = (ExampleTask(shard, shards, settings, work.examples) for shard in missing)
    for done, _ in enumerate(runner.run(make_examples, tasks), 1):
        progress.report(done / waiting, "examples: %d of %d shards", count - waiting + done, count)
    return work.example_facts(count)


def _record(
    identity: dict[str, Any],
    statistics: dict[str, Any],
    token_facts: list[dict[str, Any]],
    example_facts: list[dict[str, Any]],
) -> dict[str, Any]:
    """What `corpus.json` says."""
    shards: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLITS}
    origins = []
    first_document = 0
    for shard, (tokens, examples) in enumerate(zip(token_facts, example_facts, strict=True)):
        origins.append({"first_document": first_document, "origin": tokens["origin"]})
        first_document = tokens["end"]["number"]
        for name in SPLITS:
            if name in examples:
                counts = {key: examples[name][key] for key in ("examples", "bytes")}
                shards[name].append({"file": f"{shard:05d}.arrow", **counts})
    return {**identity, "statistics": statistics, "shards": shards, "origins": origins}


def _publish(work: WorkFolder, output: Path, record: dict[str, Any], times: dict[str, Any]) -> None:
    with replacing_folder(output) as folder:
        for name in SPLITS:
            if record["shards"][name]:
                (work.examples / name).replace(folder / name)
        write_json(folder / TIMES_NAME, times)
        write_json(folder / RECORD_NAME, record)


def _share_read(sizes: list[int | None], part: int) -> float | None:
    """Share of the source in the files before this one; None where a size is not known."""
    known = [size for size in sizes if size is not None]
    total = sum(known)
    return sum(known[:part]) / total if len(known) == len(sizes) and total else None


class _Progress:
    """Logs how far the work is, every ten seconds, and how long it will take where that can be told.

    Args:
        done: share of the work that was done before; None where shares are not known.
    """

    def __init__(self, done: float | None) -> None:
        self._last = self._began = time.monotonic()
        self._done = done

    def report(self, share: float | None, message: str, *values: int) -> None:
        """Log `message`, and the time left when this share of the work is done."""
        now = time.monotonic()
        if now - self._last < _LOG_SECONDS:
            return
        self._last = now
        left = ""
        if share is not None and self._done is not None and share > self._done:
            seconds = (1.0 - share) / (share - self._done) * (now - self._began)
            left = f", {timedelta(seconds=round(seconds))} left"
        _logger.info(f"{message}%s", *values, left)
