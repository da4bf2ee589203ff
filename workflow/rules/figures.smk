"""From artifacts to figures: selection without labels, evaluation with labels, experiment folders, the report."""


rule select:
    input:
        parents_of,
    output:
        "results/select/{key}/artifact.json",
    log:
        "logs/select/{key}.log",
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        gpu=1,
        mem_mb=12000,
        runtime="4h",
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"


rule evaluate:
    input:
        parents_of,
    output:
        "results/evaluate/{key}/artifact.json",
    log:
        "logs/evaluate/{key}.log",
    conda:
        "../../environment.yml"
    threads: threads_of
    resources:
        gpu=1,
        mem_mb=12000,
        runtime="4h",
    shell:
        "exec python -m pipeline run results/stages/{wildcards.key}.json --log {log} --runtime {resources.runtime}"


rule experiment:
    input:
        figures_of,
    output:
        "results/experiments/{experiment}/seed{seed}/metrics.json",
    log:
        "logs/experiment/{experiment}-seed{seed}.log",
    conda:
        "../../environment.yml"
    shell:
        "exec python -m pipeline run"
        " results/stages/experiment-{wildcards.experiment}-seed{wildcards.seed}.json --log {log}"


rule report:
    input:
        selected_metrics,
    output:
        "results/report/index.html",
    log:
        "logs/report.log",
    conda:
        "../../environment.yml"
    shell:
        "exec python -m pipeline run results/stages/report.json --log {log}"
