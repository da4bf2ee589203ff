"""Training stages: three rules over one kind, so that resources and progress can differ."""


rule pretrain:
    input:
        parents_of,
    output:
        "results/pretrain/{key}/artifact.json",
    log:
        "logs/pretrain/{key}.log",
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        gpu=1,
        mem_mb=16000,
        runtime="24h",
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"


rule adapt:
    input:
        parents_of,
    output:
        "results/adapt/{key}/artifact.json",
    log:
        "logs/adapt/{key}.log",
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        gpu=1,
        mem_mb=24000,
        runtime="24h",
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"


rule selftrain:
    input:
        parents_of,
    output:
        "results/selftrain/{key}/artifact.json",
    log:
        "logs/selftrain/{key}.log",
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        gpu=1,
        mem_mb=24000,
        runtime="24h",
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"
