"""Planning: the main process writes one file per stage; jobs and cluster nodes only read them."""

import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
ROOT = ROOT.parent if ROOT.name == "workflow" else ROOT
sys.path.insert(0, str(ROOT))

from pipeline.artifacts.errors import SegadaptError
from pipeline.plan.workflow import (
    figures_of,
    metrics_of,
    parents_of,
    publish_pages,
    selected_pages,
    set_environment,
    threads_of,
    write_plan,
)

set_environment(ROOT)

if workflow.is_main_process:
    try:
        write_plan(workflow.configfiles, workflow.config_settings.config)
    except SegadaptError as error:
        raise WorkflowError(str(error))
