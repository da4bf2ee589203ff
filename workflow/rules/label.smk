"""From a model to pseudo-labels."""


use rule prior as rank with:
    output:
        "results/rank/{key}/artifact.json",
    log:
        "logs/rank/{key}.log",
    resources:
        gpu=1,
        mem_mb=12000,
        runtime="4h",


use rule prior as split with:
    output:
        "results/split/{key}/artifact.json",
    log:
        "logs/split/{key}.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime="10m",


use rule prior as pseudolabel with:
    output:
        "results/pseudolabel/{key}/artifact.json",
    log:
        "logs/pseudolabel/{key}.log",
    resources:
        gpu=1,
        mem_mb=12000,
        runtime="8h",


use rule rank as suggest with:
    output:
        "results/suggest/{key}/artifact.json",
    log:
        "logs/suggest/{key}.log",
