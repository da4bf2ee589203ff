"""Planning: the main process writes one file per stage; jobs and cluster nodes only read them."""

import sys
from pathlib import Path

# In a clone the package lies beside workflow/; one that is installed is found as Snakemake itself is.
ROOT = Path(str(workflow.current_basedir.join("../..").get_path_or_uri(secret_free=True))).resolve()
CODE = ROOT if (ROOT / "pipeline").is_dir() else None
if CODE is not None:
    sys.path.insert(0, str(CODE))

from pipeline.plan.workflow import Plan, set_environment

set_environment(CODE)

if workflow.is_main_process:
    plan = Plan.of_main_process(workflow.configfiles, workflow.config_settings.config)
else:
    plan = Plan(None)
