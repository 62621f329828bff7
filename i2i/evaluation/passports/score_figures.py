"""The scores of translators and upscalers as figures with passports."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from i2i.evaluation.measures import FIGURES
from i2i.evaluation.paired import PairedScores, Score
from i2i.evaluation.passports.figures import Figure, Passport
from i2i.evaluation.upscaling import PROTOCOLS, UpscalingScores


def paired_figures(
    scores: PairedScores,
    truth_sha256: Mapping[str, str | None],
    *,
    source_sha256: Mapping[str, str | None],
    mean_pictures: Mapping[str, np.ndarray],
    split: str = "test",
) -> list[Figure]:
    """PSNR and L1 of the model in each direction (``psnr_AtoB``), and of the baselines (``psnr_untranslated_AtoB``).

    Args:
        scores: of a translator.
        truth_sha256: content hash of the true pictures, by direction.
        source_sha256: content hash of the pictures that were translated, by direction.
        mean_pictures: those that the baseline was, by domain ("a", "b").
        split: which half of the data they are.
    """
    figures: list[Figure] = []
    for direction, found in scores.directions.items():
        makers: list[tuple[str, str, Score | None]] = [
            ("", "", found.model),
            ("_untranslated", ", untranslated", found.untranslated),
            ("_mean_picture", ", mean picture", found.mean_picture),
        ]
        mean = mean_pictures.get(direction[-1].lower())
        of_mean = {} if mean is None else {"mean_picture_sha256": hashlib.sha256(mean.tobytes()).hexdigest()}
        for name, label, score in makers:
            is_mean = name == "_mean_picture"
            for metric, value in () if score is None else (("psnr", score.psnr_db), ("l1", score.l1_levels)):
                kind = FIGURES[metric]
                figures.append(
                    Figure(
                        name=f"{metric}{name}_{direction}",
                        label=f"{kind.label}, {direction}{label}",
                        value=value,
                        unit=kind.unit,
                        higher_is_better=kind.higher_is_better,
                        passport=Passport(
                            metric=metric,
                            split=f"{split} {direction[-1].lower()}",
                            real_count=scores.pictures,
                            fake_count=scores.pictures,
                            data_sha256=truth_sha256.get(direction),
                            # A mean picture is the same for every source.
                            source_sha256=None if is_mean else source_sha256.get(direction),
                            parameters=of_mean if is_mean else {},
                        ),
                    )
                )
    return figures


def upscaling_figures(
    scores: UpscalingScores, truth_sha256: str | None, *, low_sha256: str | None, split: str = "test"
) -> list[Figure]:
    """Every protocol's mean for the model (``psnr_y``) and for bicubic enlargement (``psnr_y_bicubic``).

    Args:
        scores: of an upscaler.
        truth_sha256: content hash of the true pictures.
        low_sha256: content hash of the small pictures.
        split: which half of the data the pictures are.
    """
    mean = scores.mean()
    count = len(scores.pictures)
    return [
        Figure(
            name=f"{name}{ending}",
            label=f"{protocol.label}, x{scores.scale}{who}",
            value=numbers[name],
            unit="dB" if name.startswith("psnr") else None,
            higher_is_better=True,
            passport=Passport(
                metric=name,
                split=split,
                real_count=count,
                fake_count=count,
                data_sha256=truth_sha256,
                source_sha256=low_sha256,
                parameters={
                    "protocol": protocol.definition,
                    "scale": scores.scale,
                    "border_pixels": scores.border_pixels,
                },
            ),
        )
        for ending, who, numbers in (("", "", mean.model), ("_bicubic", ", bicubic", mean.bicubic))
        for name, protocol in PROTOCOLS.items()
    ]
