"""From artifacts to figures: selection without labels, evaluation with labels, experiment folders, reports."""


use rule prior as select with:
    output:
        "results/select/{key}/artifact.json",
    log:
        "logs/select/{key}.log",


use rule prior as evaluate with:
    output:
        "results/evaluate/{key}/artifact.json",
    log:
        "logs/evaluate/{key}.log",


rule experiment:
    input:
        plan.figures_of,
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
        plan.metrics_of,
    output:
        "results/report/{suite}/report.json",
    log:
        "logs/report/{suite}.log",
    conda:
        "../../environment.yml"
    shell:
        "exec python -m pipeline run results/stages/report-{wildcards.suite}.json --log {log}"


rule reports:
    input:
        plan.selected_reports,
    output:
        "results/report/index.html",
    log:
        "logs/reports.log",
    conda:
        "../../environment.yml"
    shell:
        "exec python -m pipeline run results/stages/reports.json --log {log}"
