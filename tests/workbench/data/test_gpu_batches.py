"""Batches that are made on a GPU equal those of the processor. No GPU is needed: the same code runs on a processor."""

import dataclasses
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from workbench.config import DataConfig
from workbench.data import gpu_batches
from workbench.data.augmentation import Augmentation
from workbench.data.dataset import load_dataset
from workbench.data.gpu_batches import copy_to_gpu
from workbench.data.pipeline import make_training_batches
from workbench.devices.nvidia import Gpu

OPTIONS = {
    "crops": {"augmentation": Augmentation(), "image_size": 8},
    "shifts": {"augmentation": Augmentation(shift=0.1), "image_size": 8, "class_weights": np.array([1, 2, 3], "f")},
    "only resized": {"augmentation": None, "image_size": 8, "erasing": 0.5},
    "everything": {
        "augmentation": Augmentation(shift=0.1, rand_augment=9),
        "one_hot": True,
        "erasing": 0.5,
        "mixup": 0.2,
        "cutmix": 1.0,
        "class_weights": np.array([1, 2, 3], "f"),
    },
}
GPU = "/device:CPU:0"


@pytest.fixture
def dataset(photo_folder):
    """24 training images of 16 px."""
    return load_dataset(DataConfig(data=str(photo_folder(train=10, test=4)), image_size=16), seed=0)


@pytest.fixture
def set_memory(monkeypatch):
    """Function that sets the memory of the GPU, in bytes."""

    monkeypatch.setattr(gpu_batches, "_copies", weakref.WeakValueDictionary())

    def set_bytes(memory):
        monkeypatch.setattr(gpu_batches, "list_visible_gpus", lambda: [Gpu("0", "a card", memory)])

    return set_bytes


def make_on_gpu(dataset, **options):
    return make_training_batches(dataset, 10, seed=0, **options).make_on_gpu(GPU)


def assert_same_on_gpu(dataset, **options):
    """Batches are the same; resized pixels are rounded differently now and then."""
    data, make_batch = make_on_gpu(dataset, **options)
    on_host = make_training_batches(dataset, 10, seed=0, **options).make_on_host()
    for element, expected in zip(data.take(4), on_host, strict=False):
        images, *others = make_batch(*element)
        assert images.dtype == expected[0].dtype
        np.testing.assert_allclose(images, expected[0], atol=1)
        assert np.mean(images != expected[0]) < 0.01
        for part, other in zip(others, expected[1:], strict=True):
            np.testing.assert_allclose(part, other, rtol=1e-6)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_gpu_makes_the_batches_that_the_processor_makes(dataset, set_memory, options):
    set_memory(10**9)
    assert_same_on_gpu(dataset, **options)


@pytest.mark.parametrize("memory", [None, 1000])
def test_images_that_do_not_fit_are_read_by_the_processor(dataset, set_memory, memory):
    set_memory(memory)
    data, _ = make_on_gpu(dataset, **OPTIONS["crops"])
    assert data.element_spec[0].dtype == tf.uint8
    assert_same_on_gpu(dataset, **OPTIONS["crops"])
    set_memory(10**9)
    data, _ = make_on_gpu(dataset, **OPTIONS["crops"])
    assert data.element_spec[0].dtype == tf.int64


def test_stored_features_are_not_changed(dataset, set_memory):
    set_memory(10**9)
    features = np.random.default_rng(0).normal(size=(len(dataset.images), 2, 2, 5)).astype(np.float16)
    assert_same_on_gpu(dataclasses.replace(dataset, images=features, augmentable=False), augmentation=Augmentation())


def test_trainings_share_the_copy_of_their_images_while_one_uses_it(dataset, set_memory):
    set_memory(10 * dataset.images.nbytes)
    copy = copy_to_gpu(dataset.images, GPU)
    assert copy is not None
    assert copy_to_gpu(dataset.images, GPU) is copy
    again = np.memmap(dataset.images.filename, np.uint8, "r", shape=dataset.images.shape)
    assert copy_to_gpu(again, GPU) is copy
    assert copy_to_gpu(dataset.images[:5], GPU) is None, "both would take more than a tenth of the memory"
    del copy
    part = dataset.images[:5]
    copy = copy_to_gpu(part, GPU)
    assert copy_to_gpu(part, GPU) is copy
    np.testing.assert_array_equal(copy.images, part)


@pytest.mark.parametrize("kind", [tf.errors.ResourceExhaustedError, tf.errors.InternalError])
def test_a_full_gpu_gets_no_copy(dataset, set_memory, monkeypatch, kind):
    def refuse(*args, **kwargs):
        raise kind(None, None, "Dst tensor is not initialized")

    set_memory(10**9)
    monkeypatch.setattr(tf, "Variable", refuse)
    assert copy_to_gpu(dataset.images, GPU) is None


@pytest.mark.skipif(not tf.test.is_built_with_cuda(), reason="this TensorFlow has no code for GPUs")
@pytest.mark.parametrize("memory", [None, 10**9])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_gpu_makes_batches_without_waiting_for_the_processor(dataset, set_memory, options, memory):
    """What a GPU has no kernel for is computed on the processor, to which the batch is copied in each step."""
    set_memory(memory)
    data, make_batch = make_on_gpu(dataset, **options)
    graph = tf.function(make_batch, autograph=False).get_concrete_function(*data.element_spec).graph
    computed = set()  # names of what depends on the batch
    for op in graph.get_operations():
        inputs = {value.name for value in op.inputs}
        if op.type not in ("Placeholder", "NoOp"):
            kernel = find_kernel(op.type, op.get_attr)
            assert kernel, f"GPUs do not compute {op.type}: {op.name}"
            read_by_processor = {value.name for name, value in name_inputs(op) if name in kernel.host_memory_arg}
            assert not read_by_processor & computed, f"the GPU waits for {op.type}: {op.name}"
        if op.type != "Shape" and (op.type == "Placeholder" or inputs & computed):
            computed |= {value.name for value in op.outputs if value.dtype != tf.resource}


@pytest.mark.skipif(not tf.test.is_built_with_cuda(), reason="this TensorFlow has no code for GPUs")
@pytest.mark.parametrize("dtype", [tf.uint8, tf.float16, tf.float32])
@pytest.mark.parametrize("kind", ["VarHandleOp", "AssignVariableOp"])
def test_a_gpu_can_hold_images_and_features(kind, dtype):
    kernel = find_kernel(kind, lambda name: dtype)
    assert "value" not in kernel.host_memory_arg


def find_kernel(kind, get_type):
    """Return how TensorFlow computes a kind of operation on GPUs; None if it does not."""
    found = [kernel for kernel in kernels.get_registered_kernels_for_op(kind).kernel if fits(kernel, get_type)]
    return min(found, key=lambda kernel: kernel.device_type == "DEFAULT", default=None)


def fits(kernel, get_type):
    """Return whether a kernel is for GPUs and for types; `get_type` returns the type that a name stands for."""
    allowed = {
        limit.name: [tf.dtypes.as_dtype(one) for one in limit.allowed_values.list.type] for limit in kernel.constraint
    }
    return kernel.device_type in ("GPU", "DEFAULT") and all(get_type(name) in types for name, types in allowed.items())


def name_inputs(op):
    """Return (name, tensor) of each input; a list of tensors has one name."""
    counts = ((arg.name, op.get_attr(arg.number_attr) if arg.number_attr else 1) for arg in op.op_def.input_arg)
    return zip((name for name, count in counts for _ in range(count)), op.inputs, strict=True)
