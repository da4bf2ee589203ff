"""Everything worth knowing of one GPU, in one run of at most 8 minutes; each section fails alone.

    python benchmarks/gpu.py --out OUT          # on a machine with a GPU
    python benchmarks/gpu.py --out OUT --toy    # every section on the CPU at toy size, as a rehearsal

A bare PyTorch lacks a few packages. `make gpu-wheels` puts them into `.whl/`; beside it, from the source folder:

    python3 -m pip install --no-index --no-deps --target /tmp/site .whl/*.whl \
        && PYTHONPATH=/tmp/site:. python3 benchmarks/gpu.py --out OUT

Each section runs in a process of its own with a budget of seconds, and writes every row as it comes. OUT gets
`gpu.json`, `gpu.md`, a JSON file per section and the profiler's tables.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
# Read once by cuBLAS, so it must stand before any section touches the GPU.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

from gpu_sections import advent, loading, parity, passes, plca, repeats, smoke  # noqa: E402
from gpu_sections.harness import Record, full_scale, toy_scale  # noqa: E402

SECTIONS = {
    "device": (smoke.device, 30),
    "advent": (advent.advent, 150),
    "graphs": (repeats.graphs, 75),
    "methods": (smoke.methods, 90),
    "exact": (repeats.exact, 50),
    "parity": (parity.parity, 45),
    "plca": (plca.plca, 60),
    "passes": (passes.passes, 50),
    "start": (smoke.start, 40),
    "data": (loading.data, 45),
    "compiled": (advent.compiled, 90),
}
"""Function and seconds of each section, in the order of their worth."""
OVERHEAD = 15.0
"""Seconds at the end that no section may use."""


def run_section(name: str, folder: Path, toy: bool) -> None:
    """Run one section in this process; its error ends nothing else."""
    threads = len(os.sched_getaffinity(0))
    record = Record(name, folder)
    try:
        SECTIONS[name][0](record, toy_scale(threads) if toy else full_scale(threads))
    except BaseException as error:
        record.tracebacks["section"] = traceback.format_exc()
        record.row("section", error=f"{type(error).__name__}: {error}"[:300])
        sys.exit(1)


def run_apart(name: str, folder: Path, toy: bool, seconds: float) -> dict[str, Any]:
    """Run one section in a process of its own, for at most `seconds`; returns what it left."""
    print(f"{name}: starts, at most {seconds:.0f} s", flush=True)
    started = time.monotonic()
    # Forked before anything touches the GPU: the imports are paid once.
    process = multiprocessing.get_context("fork").Process(target=run_section, args=(name, folder, toy))
    process.start()
    process.join(seconds)
    status = {0: "ended", None: "out of time"}.get(process.exitcode, f"failed, code {process.exitcode}")
    if process.exitcode is None:
        process.kill()
        process.join()
    taken = time.monotonic() - started
    print(f"{name}: {status} after {taken:.1f} s", flush=True)
    path = folder / f"section-{name}.json"
    left = json.loads(path.read_text("utf-8")) if path.is_file() else {"rows": [], "tracebacks": {}}
    return {"status": status, "seconds": taken, **left}


def as_table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table; a column for every key."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_cell(row.get(column)) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "/")


def write_results(folder: Path, sections: dict[str, Any], seconds: float) -> None:
    """Write `gpu.json` and `gpu.md`."""
    result = {"seconds": seconds, "sections": sections}
    (folder / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    parts = [
        f"## {name}: {found['status']}, {found['seconds']:.0f} s\n\n{as_table(found['rows'])}\n"
        for name, found in sections.items()
    ]
    (folder / "gpu.md").write_text("\n".join(parts), encoding="utf-8")


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out", help="folder of the results")
    parser.add_argument("--toy", action="store_true", help="toy size on the CPU")
    parser.add_argument("--seconds", type=float, default=475.0, help="budget of the whole run")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="which, separated by commas")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    end = started + arguments.seconds - OVERHEAD
    found: dict[str, Any] = {}
    for name in arguments.sections.split(","):
        left = end - time.monotonic()
        if left < 5.0:
            print(f"{name}: no time left", flush=True)
            found[name] = {"status": "no time left", "seconds": 0.0, "rows": [], "tracebacks": {}}
            continue
        budget = left if arguments.toy else min(left, SECTIONS[name][1])
        found[name] = run_apart(name, arguments.out, arguments.toy, budget)
        write_results(arguments.out, found, time.monotonic() - started)
    write_results(arguments.out, found, time.monotonic() - started)
    print(f"done after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
