"""Names that options have in other training programs, for the error about an unknown option."""

from collections.abc import Collection

from glmc_zoo.errors import did_you_mean

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    # timm's train.py
    "aa": ("auto_augment",),
    "amp": ("mixed_precision",),
    "dataset": ("data",),
    "experiment": ("output_dir",),
    "img_size": ("image_size",),
    "input_size": ("image_size",),
    "mixup": ("views", "beta"),
    "cutmix": ("views", "beta"),
    "model_ema": ("ema_decay",),
    "model_ema_decay": ("ema_decay",),
    "num_workers": ("workers",),
    "reprob": ("random_erasing",),
    # transformers.TrainingArguments and its examples
    "dataset_name": ("data",),
    "dataset_config_name": ("data_config",),
    "gradient_accumulation_steps": ("grad_accum_steps",),
    "label_column_name": ("label_column",),
    "learning_rate": ("lr",),
    "lr_scheduler_type": ("sched",),
    "max_grad_norm": ("clip_grad",),
    "model_name_or_path": ("model", "backbone"),
    "num_train_epochs": ("epochs",),
    "optim": ("opt",),
    "per_device_train_batch_size": ("batch_size",),
    "report_to": ("tracker",),
    "resume_from_checkpoint": ("resume",),
    "torch_compile": ("compile",),
    "train_dir": ("data",),
    "train_val_split": ("val_fraction",),
    # both, ultralytics and lightly-train
    "arch": ("backbone", "model"),
    "batch": ("batch_size",),
    "imgsz": ("image_size",),
    "lr0": ("lr",),
    "model": ("backbone",),
    "optimizer": ("opt",),
    "out": ("output_dir", "output"),
    "output": ("output_dir",),
    "precision": ("mixed_precision",),
    "scheduler": ("sched",),
    "wd": ("weight_decay",),
}
"""Another program's name, and the options here that do the same or the nearest; a command has some of them."""


def similar_options(name: str, options: Collection[str], *, prefix: str = "", separator: str = "_") -> str:
    """``" Did you mean lr?"`` for an unknown option, or an empty string if no option is near.

    Args:
        name: The unknown name, with underscores.
        options: Names of the command's options, with underscores.
        prefix: What stands before a name in the sentence, such as ``--``.
        separator: What stands between the words of a name there.
    """

    def spell(option: str) -> str:
        return prefix + option.replace("_", separator)

    known = [spell(option) for option in OTHER_NAMES.get(name, ()) if option in options]
    if known:
        return f" Did you mean {', '.join(known)}?"
    return did_you_mean(spell(name), [spell(option) for option in options])
