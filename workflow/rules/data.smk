"""Reading datasets: decode, check, resize once. The other stages are this rule with paths of their own."""


rule prior:
    input:
        plan.parents_of,
    output:
        "results/prior/{key}/artifact.json",
    log:
        "logs/prior/{key}.log",
    conda:
        "../../environment.yml"
    threads: plan.cores_of
    resources:
        gpu=plan.gpus_of,
        mem_mb=plan.memory_of,
        runtime=plan.minutes_of,
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"


# Before all else that could run: a broken file of a later step, such as validation, is told before the training.
use rule prior as prepare with:
    output:
        "results/prepare/{key}/artifact.json",
    log:
        "logs/prepare/{key}.log",
    priority: 1
