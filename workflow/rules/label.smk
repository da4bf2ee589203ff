"""From a model to pseudo-labels."""


use rule prior as rank with:
    output:
        "results/rank/{key}/artifact.json",
    log:
        "logs/rank/{key}.log",


use rule prior as split with:
    output:
        "results/split/{key}/artifact.json",
    log:
        "logs/split/{key}.log",


use rule prior as pseudolabel with:
    output:
        "results/pseudolabel/{key}/artifact.json",
    log:
        "logs/pseudolabel/{key}.log",


use rule prior as suggest with:
    output:
        "results/suggest/{key}/artifact.json",
    log:
        "logs/suggest/{key}.log",
