"""What differs between two fingerprints is shown, and nothing else."""

import platform

import torch

from pipeline.training.fingerprint import Fingerprint, software_versions

NOW = Fingerprint("key", "data", {"torch": "2.14.1", "python": "3.11.2", "new": "1"}, "cpu", 1, 2)


def test_equal_ones_do_not_differ():
    assert NOW.differences(dict(NOW.__dict__)) == {}


def test_only_the_changed_entries_of_a_table_are_shown():
    found = {**NOW.__dict__, "software": {"torch": "2.15.0", "python": "3.11.2"}, "threads": 4}
    assert NOW.differences(found) == {
        "software": "software: the state has torch 2.15.0, this run has torch 2.14.1, new 1",
        "threads": "threads: the state has 4, this run has 2",
    }


def test_a_missing_field_differs():
    found = {name: value for name, value in NOW.__dict__.items() if name != "gpus"}
    assert NOW.differences(found) == {"gpus": "gpus: the state has None, this run has 1"}


def test_versions_name_what_decides_the_bits():
    found = software_versions()
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()
    assert set(found) == {"python", "torch", "cuda", "cudnn", "numpy"}
