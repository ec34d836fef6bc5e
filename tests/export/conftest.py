"""Exported graphs: an export takes seconds, so each is made once for all tests."""

import functools

import pytest
from export_models import FLOAT_CASES, INT8_CASES, make_int8, make_model

from pruneofa.export.exporter import onnx_model


@functools.cache
def _float(name):
    family, head, settings = FLOAT_CASES[name]
    model = make_model(family, head)
    return model, settings, onnx_model(model, **settings)


@functools.cache
def _int8(name):
    family, head, scheme, settings = INT8_CASES[name]
    model = make_int8(family, head, **scheme)
    return model, settings, onnx_model(model.plain, model.state, **settings)


@pytest.fixture(scope="session")
def floats():
    """Name of a case -> (model, settings of the export, exported graph). They are shared: change none."""
    return _float


@pytest.fixture(scope="session")
def int8s():
    """The same for int8 models."""
    return _int8
