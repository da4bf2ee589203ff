"""Command line: `run` for jobs; every other verb is for people.

python -m pipeline run results/stages/KEY.json --log LOG     one stage, with or without Snakemake
python -m pipeline start [--configfile FILE]                 the whole chain here, resumed if it was killed
python -m pipeline plan [--configfile FILE]                  what would run and why
python -m pipeline init --name NAME --source-images FOLDER --source-labels FOLDER --target-images FOLDER
python -m pipeline predict --model FOLDER --images FOLDER --out FOLDER
"""

import argparse
import io
import signal
