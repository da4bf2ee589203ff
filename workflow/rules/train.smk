"""Training stages: three rules over one kind, so that resources and progress can differ."""


use rule prior as pretrain with:
    output:
        "results/pretrain/{key}/artifact.json",
    log:
        "logs/pretrain/{key}.log",


use rule prior as adapt with:
    output:
        "results/adapt/{key}/artifact.json",
    log:
        "logs/adapt/{key}.log",


use rule prior as selftrain with:
    output:
        "results/selftrain/{key}/artifact.json",
    log:
        "logs/selftrain/{key}.log",
