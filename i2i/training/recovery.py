"""What happens when a training fails: back to the last good checkpoint, or a stop that says what to change."""

from __future__ import annotations

from i2i.errors import DivergedError, ModelError
from i2i.training.run import Run, go_back


def recover(run: Run) -> None:
    """Too many steps were not finite: go back to the last checkpoint, or stop.

    Raises:
        DivergedError: the settings say stop, or it went back often enough, or there is nothing to go back to.
    """
    settings, engine = run.engine.settings.nonfinite, run.engine
    problem = (
        f"step {engine.step}: {engine.nonfinite_streak} steps in a row gave losses or gradients that are not finite"
    )
    if settings.then == "stop" or engine.rollbacks >= settings.rollbacks:
        raise DivergedError(f"{problem}; {_start_over(run, 'a lower learning rate or precision fp32')}")
    try:
        go_back(run, problem)
    except ModelError as error:
        raise DivergedError(
            f"{problem}, and no checkpoint is there to go back to; start again with a lower learning rate or precision"
            " fp32"
        ) from error


def act_on_verdict(run: Run) -> bool:
    """Do what the watchdog's settings ask for when a training has failed; True when it went back.

    Raises:
        DivergedError: the settings say stop, or it went back often enough, or there is nothing good to go back to.
    """
    engine = run.engine
    verdict = engine.processes.share(run.verdict) if engine.settings.watchdog.action in ("stop", "rollback") else None
    run.verdict = None
    if verdict is None:
        return False
    if verdict.action == "stop" or engine.rollbacks >= engine.settings.nonfinite.rollbacks:
        raise DivergedError(f"step {verdict.step}: {verdict.line}; {_start_over(run, 'that')}")
    try:
        go_back(run, f"step {verdict.step}: {verdict.title.lower()}", up_to_step=verdict.began_step - 1)
    except ModelError as error:
        raise DivergedError(
            f"step {verdict.step}: {verdict.line}; no checkpoint from before step {verdict.began_step} is left"
        ) from error
    run.watchdog.go_back()
    return True


def _start_over(run: Run, change: str) -> str:
    return (
        f"start a new run with {change} (--set initialize_from={run.folder} takes the weights of the last checkpoint)"
    )
