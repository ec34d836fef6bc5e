"""Where a corpus lies while it is being built, so that a build that was killed goes on shard by shard."""

import itertools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from pruneofa.atomic import write_json
from pruneofa.data.pretraining.building.documents import DROPPED, DocumentBatch, Position
from pruneofa.data.pretraining.building.example_shards import example_facts
from pruneofa.data.pretraining.building.token_shards import shard_facts

__all__ = ["WorkFolder"]


class WorkFolder:
    """The unfinished corpus of one source, settings and tokenizer.

    Where a file of the source has changed since (a broken line was mended), the shards that end in the files before it
    are taken over as they are, and every other one whose documents turn out to be the same.

    Args:
        folder: kept from a build that was broken off if that was of the same corpus but for the source, else emptied.
        identity: everything that decides the result.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        self.examples = folder / "examples"
        wanted = json.loads(json.dumps(identity))
        held = _load(folder / "identity.json")
        if held == wanted:
            self._unchanged = self._read_unchanged()
            return
        if _without_source(held) != _without_source(wanted):
            self.remove()
            self._unchanged = None
        else:
            before = self._read_unchanged()
            self._unchanged = min(_equal_parts(held, wanted), sys.maxsize if before is None else before)
            shutil.rmtree(self.examples, ignore_errors=True)
            (folder / "shards.json").unlink(missing_ok=True)
            write_json(folder / "unchanged.json", {"parts": self._unchanged})
        write_json(folder / "identity.json", identity)

    def _read_unchanged(self) -> int | None:
        """How many parts of the source are what they were for every shard; None for all."""
        held = _load(self.folder / "unchanged.json")
        parts = held.get("parts") if isinstance(held, dict) else None
        return parts if isinstance(parts, int) else None

    def remove(self) -> None:
        """Remove it and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def token_path(self, shard: int) -> Path:
        """File of a shard's token ids."""
        return self.folder / "tokens" / f"{shard:05d}.bin"

    def has_tokens(self, batch: DocumentBatch) -> bool:
        """Whether the token ids of these documents are there, whole."""
        facts = shard_facts(self.token_path(batch.shard))
        if facts is None or self._unchanged is None or facts["end"]["part"] < self._unchanged:
            return facts is not None
        return bool(facts["end"] == batch.end.as_dict() and facts.get("content") == batch.content_hash())

    def has_examples(self, shard: int) -> bool:
        """Whether the shard's examples are there, whole."""
        return example_facts(self.examples, shard) is not None

    @property
    def is_empty(self) -> bool:
        """Whether there is no finished shard that a later build could take over."""
        return not any((self.folder / "tokens").glob("*.json"))

    def resume_at(self) -> tuple[int, Position]:
        """The first shard whose documents have to be read, and where its text begins."""
        shard, position = 0, Position()
        while (facts := shard_facts(self.token_path(shard))) is not None:
            if self._unchanged is not None and facts["end"]["part"] >= self._unchanged:
                break
            shard, position = shard + 1, Position(**facts["end"])
        return shard, position

    def shard_count(self) -> int | None:
        """Shards of the source, once it was read to its end with every shard tokenised; else None."""
        held = _load(self.folder / "shards.json")
        count = held.get("shards") if isinstance(held, dict) else None
        whole = isinstance(count, int) and all(shard_facts(self.token_path(shard)) for shard in range(count))
        return count if whole else None

    def set_shard_count(self, count: int) -> None:
        """Note that the source was read to its end."""
        write_json(self.folder / "shards.json", {"shards": count})

    def token_facts(self, count: int) -> list[dict[str, Any]]:
        """What was counted while tokenising, shard by shard."""
        return [facts for shard in range(count) if (facts := shard_facts(self.token_path(shard))) is not None]

    def example_facts(self, count: int) -> list[dict[str, Any]]:
        """What was counted while making examples, shard by shard."""
        return [facts for shard in range(count) if (facts := example_facts(self.examples, shard)) is not None]

    @staticmethod
    def dropped(token_facts: list[dict[str, Any]]) -> dict[str, int]:
        """Rows left out, by reason."""
        return {reason: sum(facts["dropped"][reason] for facts in token_facts) for reason in DROPPED}


def _without_source(identity: Any) -> Any:
    """What decides a shard beside the text; which faulty rows are left out shows in that."""
    if not isinstance(identity, dict) or not isinstance(identity.get("settings"), dict):
        return None
    settings = {key: value for key, value in identity["settings"].items() if key != "on_error"}
    return {key: value for key, value in identity.items() if key != "source"} | {"settings": settings}


def _equal_parts(held: dict[str, Any], wanted: dict[str, Any]) -> int:
    """How many parts at the beginning of the source are the same."""
    pairs = zip(held["source"], wanted["source"], strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
