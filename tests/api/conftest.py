"""A proof measures the host once; the tests of this room share one measurement."""

import msgspec
import pytest

from onecard import machine
from onecard.machine import measured
from onecard.machine.cpu import processor


@pytest.fixture(scope="session")
def measured_once(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONECARD_HOME", str(tmp_path_factory.mktemp("measured")))
        # Tests are other work; a measurement that they disturbed must not be repeated by each of them.
        return msgspec.structs.replace(machine.measure(), load=0.0)


@pytest.fixture(autouse=True)
def known_machine(home, measured_once):
    """The numbers of this machine in the home of a test."""
    measured.remember(processor(), measured_once)
