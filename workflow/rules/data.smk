"""Reading datasets: decode, check, resize once. The other stages are this rule with paths and resources of their own."""


rule prepare:
    input:
        plan.parents_of,
    output:
        "results/prepare/{key}/artifact.json",
    log:
        "logs/prepare/{key}.log",
    conda:
        "../../environment.yml"
    threads: plan.threads_of
    resources:
        mem_mb=4000,
        runtime="2h",
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"


use rule prepare as prior with:
    output:
        "results/prior/{key}/artifact.json",
    log:
        "logs/prior/{key}.log",
    resources:
        mem_mb=4000,
        runtime="1h",
