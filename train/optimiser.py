"""The optimiser and its schedule as the options ask for them, built for trial: each refusal names its options."""

from transformers import Trainer

SCHEDULES_WITHOUT_ARGUMENTS = ("constant", "constant_with_warmup")  # transformers silently leaves theirs out
TRIED = 100  # steps of a schedule
ROUNDING = 1e-6
PROJECTING = ("galore", "apollo")  # optimisers that read optim_target_modules


def check_optimiser(trainer: Trainer) -> None:
    """Build the trainer's optimiser and its schedule. Raises ValueError where one cannot be, or ignores its options."""
    args = trainer.args
    optim, schedule = str(args.optim.value), str(args.lr_scheduler_type.value)
    if args.optim_target_modules is not None and not any(name in optim for name in PROJECTING):
        raise ValueError(
            f"optim_target_modules is {args.optim_target_modules!r}, which optim {optim} does not read; leave it out."
        )
    settings = f" with optim_args {args.optim_args!r}" if args.optim_args else ""
    try:
        idle = _idle_arguments(trainer)
        trainer.create_optimizer()
    except Exception as error:  # whatever the optimisers' own packages raise
        raise ValueError(f"optim {optim}{settings} cannot be built: {_reason(error)}") from error
    if idle:
        raise ValueError(f"optim_args sets {', '.join(idle)}, which optim {optim} does not read; leave it out.")
    arguments = args.lr_scheduler_kwargs
    if arguments and schedule in SCHEDULES_WITHOUT_ARGUMENTS:
        raise ValueError(
            f"lr_scheduler_kwargs is {arguments!r}, but lr_scheduler_type is {schedule}, which takes "
            "none; leave it out."
        )
    settings = f" with lr_scheduler_kwargs {arguments!r}" if arguments else ""
    try:
        scheduler = trainer.create_scheduler(num_training_steps=TRIED)
        shares = [share(step) for share in getattr(scheduler, "lr_lambdas", []) for step in range(TRIED + 1)]
    except Exception as error:  # a missing argument is a TypeError, one out of range a ValueError
        raise ValueError(f"lr_scheduler_type {schedule}{settings} cannot be built: {_reason(error)}") from error
    # Above 1 are settings whose lowest rate is above the learning rate, which would then rise to it.
    if wrong := [share for share in shares if not (isinstance(share, int | float) and 0 <= share <= 1 + ROUNDING)]:
        raise ValueError(
            f"lr_scheduler_type {schedule}{settings} takes {wrong[0]} times the learning rate at some step; expected "
            "0 to 1."
        )


def _idle_arguments(trainer: Trainer) -> list[str]:
    """The names in `optim_args` that do not change how the optimiser is built. Raises ValueError where there are none.

    transformers takes what it knows out of them, and leaves the rest.
    """
    text = trainer.args.optim_args
    if not text:
        return []
    pairs = [pair.strip().partition("=") for pair in text.split(",")]
    if not all(name and equals and value for name, equals, value in pairs):
        raise ValueError("expected name=value, with commas between several")

    def built(left_out: str = "") -> str:
        trainer.args.optim_args = ",".join(name + "=" + value for name, _, value in pairs if name != left_out)
        return repr(trainer.get_optimizer_cls_and_kwargs(trainer.args, trainer.model))

    try:
        whole = built()
        return [name for name, _, _ in pairs if built(left_out=name) == whole]
    finally:
        trainer.args.optim_args = text


def _reason(error: Exception) -> str:
    return f"{' '.join(str(error).split()).rstrip('.')} ({type(error).__name__})."
