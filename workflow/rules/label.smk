"""From a model to pseudo-labels."""


rule rank:
    input:
        parents_of,
    output:
        "results/rank/{key}/artifact.json",
    log:
        "logs/rank/{key}.log",
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        gpu=1,
        mem_mb=12000,
        runtime="4h",
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"


rule split:
    input:
        parents_of,
    output:
        "results/split/{key}/artifact.json",
    log:
        "logs/split/{key}.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="10m",
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"


rule pseudolabel:
    input:
        parents_of,
    output:
        "results/pseudolabel/{key}/artifact.json",
    log:
        "logs/pseudolabel/{key}.log",
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        gpu=1,
        mem_mb=12000,
        runtime="8h",
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"


rule suggest:
    input:
        parents_of,
    output:
        "results/suggest/{key}/artifact.json",
    log:
        "logs/suggest/{key}.log",
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        gpu=1,
        mem_mb=12000,
        runtime="4h",
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"
