"""Reading datasets: decode, check, resize once."""


rule prepare:
    input:
        parents_of,
    output:
        "results/prepare/{key}/artifact.json",
    log:
        "logs/prepare/{key}.log",
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        mem_mb=4000,
        runtime="2h",
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"


rule prior:
    input:
        parents_of,
    output:
        "results/prior/{key}/artifact.json",
    log:
        "logs/prior/{key}.log",
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        mem_mb=4000,
        runtime="1h",
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"
