"""Planning: the main process writes one file per stage; jobs and cluster nodes only read them."""

import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
ROOT = ROOT.parent if ROOT.name == "workflow" else ROOT
sys.path.insert(0, str(ROOT))

from pipeline.plan.workflow import Plan, set_environment

set_environment(ROOT)

if workflow.is_main_process:
    plan = Plan.of_main_process(workflow.configfiles, workflow.config_settings.config)
else:
    plan = Plan(None)
