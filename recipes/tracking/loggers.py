"""TorchRL's loggers behind one call, and what goes to W&B beside scalars."""

from __future__ import annotations

import functools
import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torchrl.record.loggers import CSVLogger, Logger, TensorboardLogger

from agents import metrics
from agents.data.dataset import OfflineDataset
from agents.errors import ConfigError, one_line, optional_package
from agents.evaluation.rollouts import EvalResult
from recipes.settings.many_runs import ManyRunsConfig
from recipes.settings.overrides import PATHS
from recipes.settings.schema import EvaluateConfig, InspectConfig, WandbConfig
from recipes.tracking.wandb_client import wandb_client
from recipes.tracking.wandb_logger import PatientLogger

SYNC = "wandb sync "  # and folders
MAX_TAG = 64  # characters that W&B allows


def make_logger(
    kind: str, folder: Path, *, name: str, run_id: str, job_type: str, settings: Mapping[str, Any], wandb: WandbConfig
) -> Logger | None:
    """The logger of a run, writing below its folder: wandb, csv, tensorboard, or None for ``none``.

    Args:
        run_id: W&B's id of the run, the same again when it is resumed.
        settings: the run's settings and what identifies its data and software.
    """
    if kind == "none":
        return None
    if kind == "csv":
        return CSVLogger(exp_name="csv", log_dir=str(folder))
    if kind == "tensorboard":
        with optional_package("tensorboard", "logger=tensorboard"):
            return TensorboardLogger(exp_name="tensorboard", log_dir=str(folder))
    job_type = wandb.job_type or ("trial" if "WANDB_SWEEP_ID" in os.environ else job_type)  # the latter: W&B's agent
    # settings that name this machine, or places on it, stay here
    config = {key: value for key, value in settings.items() if key not in (*PATHS, "address")} | {"job_type": job_type}
    tags = list(dict.fromkeys([*wandb.tags, *subjects(settings)]))
    options = {"exp_name": name, "save_dir": str(folder), "job_type": job_type, "config": config, "tags": tags}
    return _wandb_logger(wandb, run_id, **options)


def subjects(settings: Mapping[str, Any]) -> list[str]:
    """Datasets, algorithms and tasks of a run, as far as W&B takes them for tags."""
    datasets = settings.get("datasets") or [settings.get("dataset")]
    algorithms = settings.get("algorithms") or [settings.get("algorithm_name")]
    parts = [str(dataset).split("/") for dataset in datasets if dataset]
    tasks = [part[1] if len(part) > 2 else part[-1].rpartition("-v")[0] or part[-1] for part in parts]
    return [str(word) for word in (*datasets, *algorithms, *tasks) if word and len(str(word)) <= MAX_TAG]


def log_once(
    config: EvaluateConfig | InspectConfig | ManyRunsConfig,
    folder: Path,
    log: Callable[[Logger | None], None],
    *,
    name: str,
    job_type: str,
    **settings: Any,
) -> str | None:
    """Results as a run of their own, where the settings ask for it; returns the command that uploads it later."""
    run = {"name": name, "run_id": uuid.uuid4().hex[:8], "job_type": job_type}
    logger = make_logger(config.logger, folder, **run, settings={**asdict(config), **settings}, wandb=config.wandb)
    log(logger)
    hint = sync_hint(logger)
    close(logger)
    return hint


def _wandb_logger(wandb: WandbConfig, run_id: str, **options: Any) -> PatientLogger:
    client = wandb_client()

    def begin(mode: str, run_id: str) -> PatientLogger:
        return PatientLogger(
            id=run_id,
            project=wandb.project,
            log_env_packages=False,  # it would upload the machine's packages and editable paths
            entity=wandb.entity,
            group=wandb.group,
            mode=mode,
            patience=wandb.timeout,
            settings=_settings(wandb),
            **options,
        )

    try:
        has_key = wandb.mode != "offline" and client.login(prompt=False, verify=False)
        if wandb.mode == "online" and not has_key:
            return begin("online", run_id)  # to be refused
        if has_key and _server_answers(wandb.timeout):
            try:
                logger = begin("online", run_id)
                print(f"W&B: {logger.experiment.url}")
                return logger
            except client.errors.Error as error:
                _warn_of(error)
                run_id = f"{run_id}-offline"  # W&B's own process does not give the id back
        return begin("offline", run_id)
    except (client.errors.Error, ValueError) as error:  # the latter: an environment variable of W&B's is wrong
        raise ConfigError(f"W&B refused the run ({one_line(error)}); use wandb.mode=offline or logger=csv") from error


def _settings(wandb: WandbConfig) -> Any:
    """Of W&B's client: what it waits for, and what it keeps to itself."""
    return wandb_client().Settings(
        silent=True,
        reinit="create_new",  # seeds that are trained as one have a run each
        console="off",
        disable_git=True,
        disable_code=True,
        x_save_requirements=False,  # neither the machine's packages nor its name and paths are uploaded
        x_disable_machine_info=True,
        host="",
        program=Path(sys.argv[0]).name,  # else with its whole path
        init_timeout=float(wandb.timeout),
        finish_timeout=float(wandb.upload_timeout),
        finish_timeout_raises=True,
        x_transaction_log_flush_interval=1.0,  # seconds of rows that a killed run can lose
    )


@functools.cache  # several runs of a process ask once
def _server_answers(timeout: int) -> bool:
    """Whether it does in so many seconds, and takes the key; if not, a warning says why."""
    client = wandb_client()
    try:
        _ = client.Api(timeout=timeout).default_entity
    except (client.errors.Error, ValueError) as error:  # the latter: an answer that is none
        _warn_of(error)
        return False
    return True


def _warn_of(error: Exception) -> None:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    print(f"warning: W&B is not to be had ({reason}); the run is logged offline", file=sys.stderr)


def sync_hint(logger: Logger | None) -> str | None:
    """How to upload an offline run; None when there is nothing to upload."""
    return logger.sync_command if isinstance(logger, PatientLogger) and logger.experiment.offline else None


def address(logger: Logger | None) -> str | None:
    """Where W&B shows a run that is online."""
    return logger.experiment.url if isinstance(logger, PatientLogger) and not logger.experiment.offline else None


def log_data(logger: Logger | None, dataset: OfflineDataset) -> None:
    """The run's data, ``data/*``, in W&B alone; once, before the first update."""
    if isinstance(logger, PatientLogger):
        logger.tell(lambda: logger.log_metrics(metrics.data(dataset), step=0))
        returns = dataset.statistics.horizon_returns.tolist()
        logger.tell(lambda: logger.log_histogram("data/returns", returns, step=0, bins=32))


def log_scalars(logger: Logger | None, scalars: Mapping[str, float], step: int) -> None:
    if isinstance(logger, PatientLogger):
        logger.tell(lambda: logger.log_metrics(dict(scalars), step=step))
    elif logger is not None:
        logger.log_metrics(dict(scalars), step=step)


def log_summary(logger: Logger | None, scalars: Mapping[str, float]) -> None:
    """The last evaluation as ``final/*`` in W&B's run summary: what a table over runs should sort by."""
    if isinstance(logger, PatientLogger):
        final = {key.replace("eval/", "final/"): value for key, value in scalars.items()}
        logger.tell(lambda: logger.experiment.summary.update(final))


def log_evaluation(logger: Logger | None, scalars: Mapping[str, float], result: EvalResult, step: int) -> None:
    """An evaluation's scalars, the histogram of its returns and, in W&B, a table with a row per episode."""
    log_scalars(logger, scalars, step)
    if isinstance(logger, PatientLogger):
        logger.tell(lambda: logger.log_histogram("eval/returns", result.returns.tolist(), step=step, bins=32))
        columns = metrics.episodes(result)
        rows = [[index, *row] for index, row in enumerate(zip(*(column.tolist() for column in columns.values())))]
        logger.tell(lambda: logger.log_table("eval/episodes", ["episode", *columns], rows, step))


def log_videos(logger: Logger | None, paths: Mapping[str, Path], step: int) -> None:
    """Recorded episodes as ``eval/<name>``, in W&B alone."""
    if isinstance(logger, PatientLogger) and paths:
        videos = {f"eval/{name}": wandb_client().Video(str(path), format="mp4") for name, path in paths.items()}
        logger.tell(lambda: logger.experiment.log({**videos, "eval/step": step}))


def log_comparison(
    logger: Logger | None, tables: Mapping[str, Sequence[Sequence[Any]]], images: Sequence[Path]
) -> None:
    """The tables of a comparison, each a header and rows, and its figures, in W&B alone."""
    if isinstance(logger, PatientLogger):
        for name, (header, *rows) in tables.items():
            logger.tell(lambda name=name, header=header, rows=rows: logger.log_table(name, header, rows))
        assert not {image.stem for image in images} & {*tables}  # of two things with one key W&B keeps the later
        pictures = {image.stem: wandb_client().Image(str(image)) for image in images}
        logger.tell(lambda: logger.experiment.log(pictures))


def close(logger: Logger | None, *, exit_code: int = 0) -> None:
    """Flush and end the logger; W&B shows a run with another exit code than 0 as failed."""
    if isinstance(logger, PatientLogger):
        logger.finish(exit_code)
    elif logger is not None and hasattr(logger.experiment, "close"):
        logger.experiment.close()
