"""A proof measures the host once; the tests of this room share one measurement."""

import pytest

from onecard import machine
from onecard.machine import measured
from onecard.machine.cpu import processor


@pytest.fixture(scope="session")
def measured_once(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONECARD_HOME", str(tmp_path_factory.mktemp("measured")))
        return machine.measure()


@pytest.fixture(autouse=True)
def known_machine(home, measured_once):
    """The numbers of this machine in the home of a test."""
    measured.remember(processor(), measured_once)
