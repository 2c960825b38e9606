"""This machine's processor: what is made of the figures that were measured."""

from collections import Counter

import numpy as np
import pytest
import torch

from train.plan.counting import AGAIN, Work
from train.plan.devices import GPUS
from train.plan.processor import MODULE_CALL, NATIVE_CACHE_SHARE, PRODUCT_SHARE, SIZES, Processor, probe
from train.rollout.dense.pool import LayerShape

FLOAT = torch.float32
SMALL, LARGE = (8, 64, 64, FLOAT), (512, 512, 512, FLOAT)


def a_processor(**found):
    found = {"products": {(SMALL, False): 1e-5, (LARGE, False): 1e-3}} | found
    return Processor(memory=2.0**34, threads=1, call=1e-6, plain=[1e9] * len(SIZES), series=[5e8] * len(SIZES), **found)


def test_each_kind_of_work_takes_its_time():
    processor = a_processor()
    assert processor.seconds(Work(calls=100)) == pytest.approx(100 * MODULE_CALL * 1e-6)
    assert processor.seconds(Work(products=Counter({LARGE: 3}))) == pytest.approx(3e-3 / PRODUCT_SHARE)
    assert processor.seconds(Work(moved=Counter({(2**20, False): 1e9}))) == pytest.approx(1.0)
    assert processor.seconds(Work(moved=Counter({(2**20, True): 1e9}))) == pytest.approx(2.0)
    assert processor.seconds(Work(attention_flops=processor.attention_rate)) == pytest.approx(1.0)


def test_a_product_that_was_not_measured_goes_at_the_rate_of_the_one_most_like_it():
    processor = a_processor()
    assert processor.product((1024, 512, 512, FLOAT), packed=False) == pytest.approx(2e-3)
    assert processor.product((8, 64, 128, FLOAT), packed=False) == pytest.approx(2e-5)


def test_a_packed_weight_goes_at_a_rate_of_its_own():
    processor = a_processor(products={(LARGE, False): 1e-3, (LARGE, True): 5e-4})
    assert processor.product(LARGE, packed=True) == 5e-4
    assert processor.product(LARGE, packed=False) == 1e-3


def test_rates_lie_between_those_of_the_sizes_next_to_them():
    processor = a_processor()
    processor.plain = [4e9, 2e9, *[1e9] * (len(SIZES) - 2)]
    between = processor.seconds(Work(moved=Counter({(2**15, False): 1e9})))
    assert 0.25 < between < 0.5


def test_a_shared_prompt_is_read_again_for_each_row_from_the_caches_by_kernels_and_gpus_alone(monkeypatch):
    layer = LayerShape(2, 32, 32, FLOAT, FLOAT, None)  # 512 bytes a token
    rows, cached, again, none = (np.array([n]) for n in (16, 1000, 15_000, 0))

    def seconds(device):
        return [float(device.cache_seconds([layer], rows, cached, read)[0]) for read in (none, again)]

    for native, share in ((True, NATIVE_CACHE_SHARE), (False, None)):
        monkeypatch.setattr("train.plan.processor.runs_natively", lambda *_, native=native: native)
        once, all_of_it = seconds(a_processor())
        assert all_of_it == pytest.approx(once * (1 + AGAIN * 15 if native else 1))
        if share:
            assert once == pytest.approx(512_000 / share / 1e9)
    once, all_of_it = seconds(GPUS["H100"])
    assert all_of_it == pytest.approx(once * (1 + AGAIN * 15))


def test_what_matters_most_is_measured_however_little_time_there_is():
    work = Work(products=Counter({LARGE: 10, SMALL: 1}))
    found = probe([(work, False)], seconds=0.0)
    assert (LARGE, False) in found.products
    rates = [*found.plain, *found.series, found.call, *found.products.values()]
    assert all(0 < rate < float("inf") for rate in rates)
    assert len(found.plain) == len(found.series) == len(SIZES)
