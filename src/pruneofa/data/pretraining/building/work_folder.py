"""Where a corpus lies while it is being built, so that a build that was killed goes on shard by shard."""

import json
import shutil
from pathlib import Path
from typing import Any

from pruneofa.atomic import write_json
from pruneofa.data.pretraining.building.documents import DROPPED, Position
from pruneofa.data.pretraining.building.example_shards import example_facts
from pruneofa.data.pretraining.building.token_shards import shard_facts

__all__ = ["WorkFolder"]


class WorkFolder:
    """The unfinished corpus of one source, settings and tokenizer.

    Args:
        folder: kept from a build that was broken off if that was of the same corpus, else emptied.
        identity: everything that decides the result.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        self.examples = folder / "examples"
        held = _load(folder / "identity.json")
        if held != json.loads(json.dumps(identity)):
            self.remove()
            write_json(folder / "identity.json", identity)

    def remove(self) -> None:
        """Remove it and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def token_path(self, shard: int) -> Path:
        """File of a shard's token ids."""
        return self.folder / "tokens" / f"{shard:05d}.bin"

    def has_tokens(self, shard: int) -> bool:
        """Whether the shard's token ids are there, whole."""
        return shard_facts(self.token_path(shard)) is not None

    def has_examples(self, shard: int) -> bool:
        """Whether the shard's examples are there, whole."""
        return example_facts(self.examples, shard) is not None

    @property
    def is_empty(self) -> bool:
        """Whether there is no finished shard that a later build could take over."""
        return not any((self.folder / "tokens").glob("*.json"))

    def resume_at(self) -> tuple[int, Position]:
        """The first shard without token ids, and where its text begins."""
        shard, position = 0, Position()
        while (facts := shard_facts(self.token_path(shard))) is not None:
            shard, position = shard + 1, Position(**facts["end"])
        return shard, position

    def shard_count(self) -> int | None:
        """Shards of the source, once it was read to its end with every shard tokenised; else None."""
        held = _load(self.folder / "shards.json")
        count = held.get("shards") if isinstance(held, dict) else None
        return count if isinstance(count, int) and all(map(self.has_tokens, range(count))) else None

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


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
