"""`pruneofa push_to_hub`: a model's folder, with its card, as a repository of the Hugging Face hub."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneofa.atomic import write_text
from pruneofa.checkpoint.leftovers import leftovers
from pruneofa.checkpoint.model_folder import ModelFolder
from pruneofa.errors import CheckpointError, ConfigurationError, PruneofaError, first_line
from pruneofa.workflow.card import folder_card
from pruneofa.workflow.report import CARD_NAME, MODEL_NAME, RECIPE_NAME, result_folder, run_card

__all__ = ["PushSummary", "push_to_hub"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushSummary:
    """What was, or would be, uploaded.

    Attributes:
        repo_id: The repository.
        url: Where it is; None for a dry run.
        files: Name in the repository -> bytes.
        left_out: Name in the folder -> bytes, of files that are no part of the model (see `checkpoint.leftovers`).
    """

    repo_id: str
    url: str | None
    files: dict[str, int]
    left_out: dict[str, int]


def push_to_hub(
    path: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    files: Sequence[str | Path] = (),
    commit_message: str = "Upload a sparse model made with pruneofa",
    dry_run: bool = False,
    api: Any = None,
) -> PushSummary:
    """Upload a model folder: its files, its card (written where it has none), and further files.

    The repository is made if it isn't there. Hidden files and folders stay here. Of a run's folder its last model goes,
    with its `model.pofa` and the card that the run's figures make.

    Args:
        path: A model folder, or the folder of a run.
        repo_id: `user/name`, or `name` for the token's user.
        private: Make a new repository private.
        files: Further files, such as an ONNX file; they go beside the weights, under their own names.
        commit_message: Of the one commit.
        dry_run: Only say what would be uploaded; needs no network and no token.
        api: In place of a new `huggingface_hub.HfApi()`, which takes its token from the environment or the login.

    Raises:
        ConfigurationError: The repository's name is malformed, a file is missing, or two have one name.
        CheckpointError: The folder holds no intact model.
        PruneofaError: There is no token, no network, or the hub refuses.
    """
    _check_repo_id(repo_id)
    folder = Path(path)
    card: str | None = None
    if (folder / RECIPE_NAME).exists():
        run_dir, folder = folder, result_folder(folder)
        card = run_card(run_dir, "upload")
        compressed = run_dir / MODEL_NAME
        files = [*([compressed] if compressed.exists() else []), *files]
    with tempfile.TemporaryDirectory() as temporary:
        staged, left_out = _stage(Path(temporary), folder, files, card)
        sizes = {name: source.stat().st_size for name, source in staged.items()}
        if dry_run:
            return PushSummary(repo_id, None, sizes, left_out)
        return PushSummary(repo_id, _upload(Path(temporary), repo_id, private, commit_message, api), sizes, left_out)


def _stage(
    staging: Path, folder: Path, files: Sequence[str | Path], card: str | None
) -> tuple[dict[str, Path], dict[str, int]]:
    """Fill `staging` with links to what shall be uploaded: name -> where it is; and what is left out: name -> bytes."""
    opened = ModelFolder(folder)  # refuses what is no intact model
    sources = {name: folder / name for name in opened.weight_files}
    for found in sorted(folder.rglob("*")):
        relative = found.relative_to(folder)
        if found.is_file() and not any(part.startswith(".") for part in relative.parts):
            sources[relative.as_posix()] = found
    left_out = {
        name: sources.pop(name).stat().st_size for name in leftovers(list(sources), opened.weight_files, opened.inner)
    }
    if opened.inner + "config.json" not in sources:
        raise CheckpointError(f"{folder}: has no config.json, so nothing could load it; save the model again")
    for given in map(Path, files):
        if not given.is_file():
            raise ConfigurationError(f"add_file: {str(given)!r} is no file; give an existing one")
        if given.name in sources and not given.samefile(sources[given.name]):
            raise ConfigurationError(f"add_file: {str(given)!r} has the name of a file of the model; rename it")
        sources[given.name] = given
    for name, source in sources.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).symlink_to(source.resolve())
    if card is not None or CARD_NAME not in sources:
        (staging / CARD_NAME).unlink(missing_ok=True)
        write_text(staging / CARD_NAME, folder_card(staging, name=folder.resolve().name) if card is None else card)
        sources[CARD_NAME] = staging / CARD_NAME
    return dict(sorted(sources.items())), left_out


def _upload(folder: Path, repo_id: str, private: bool, commit_message: str, api: Any) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = api or HfApi(library_name="pruneofa")
    try:
        created = api.create_repo(repo_id, private=private, exist_ok=True)
        name = getattr(created, "repo_id", None) or repo_id
        api.upload_folder(repo_id=name, folder_path=folder, commit_message=commit_message)
    except LocalTokenNotFoundError as error:
        raise PruneofaError(_no_token(repo_id)) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status == 401:
            raise PruneofaError(_no_token(repo_id)) from error
        remedy = "use a token with the right to write there" if status == 403 else "try again later"
        raise PruneofaError(f"{repo_id}: the hub refuses the upload ({first_line(error)}); {remedy}") from error
    except Exception as error:  # the transport's errors have no common base with those of the client
        raise PruneofaError(
            f"{repo_id}: the hub can't be reached or the upload broke off ({first_line(error)}); check the network "
            "(and HF_HUB_OFFLINE) and run the same command again, what is there already is not sent twice"
        ) from error
    return str(created)


def _check_repo_id(repo_id: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConfigurationError(f"REPO is {repo_id!r}, allowed is 'user/name': {first_line(error)}") from error


def _no_token(repo_id: str) -> str:
    return (
        f"{repo_id}: the hub asks for a token; log in with `hf auth login` or set HF_TOKEN to one that may write "
        "(--dry_run lists what would be sent)"
    )
