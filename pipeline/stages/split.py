"""`split`: cut the ranked target images into easy and hard; no image passes through a network."""

from typing import Any

import pandas as pd

from pipeline.artifacts.files import write_text
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.numerics.ranking import rank, ranking_scores, split_by_entropy
from pipeline.stages.base import Job
from pipeline.stages.parameters import SplitParameters


def split_table(scores: pd.DataFrame, taxonomy: Taxonomy, variant: Any, easy_share: float) -> pd.DataFrame:
    """One row per image in the order of rank: image, entropy, n_rare, score, rank, split.

    `scores`: the ranking's table with columns `image`, `entropy` and `pixels_<class>`.
    """
    present = scores[[f"pixels_{name}" for name in taxonomy.rare]] > 0
    n_rare = present.sum(axis=1).astype(int).tolist() if len(taxonomy.rare) else [0] * len(scores)
    names = [str(name) for name in scores["image"]]
    values = ranking_scores(
        variant, scores["entropy"].tolist(), n_rare, len(taxonomy.rare), taxonomy.num_classes
    )
    order = rank(names, values)
    easy = set(split_by_entropy(names, values, easy_share).easy)
    return pd.DataFrame(
        {
            "image": [names[i] for i in order],
            "entropy": [float(scores["entropy"].iloc[i]) for i in order],
            "n_rare": [n_rare[i] for i in order],
            "score": [values[i] for i in order],
            "rank": range(1, len(order) + 1),
            "split": ["easy" if names[i] in easy else "hard" for i in order],
        }
    )


def compute(job: Job[SplitParameters]) -> dict[str, Any]:
    """Write `split.csv`; the model that made the entropies is named in the manifest's parents."""
    ranking = job.parent("ranking")
    scores = pd.read_csv(ranking.path / "scores.csv", dtype={"image": str}, keep_default_na=False)
    table = split_table(scores, job.taxonomy, job.parameters.ranking, job.parameters.easy_share)
    write_text(job.out / "split.csv", table.to_csv(index=False))
    easy = int((table["split"] == "easy").sum())
    job.log.info("easy %d, hard %d of %d images", easy, len(table) - easy, len(table))
    return {
        "easy": easy,
        "hard": len(table) - easy,
        "network": job.summary("ranking")["network"],
    }
