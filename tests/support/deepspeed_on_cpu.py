"""`-m train` with DeepSpeed where there is no GPU, which neither accelerate nor we allow: for a test, over gloo."""

import os
import sys

os.environ["DS_ACCELERATOR"] = os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"

import deepspeed.comm.torch
from accelerate import DistributedType, PartialState
from resuming import reward_anything

import train.config.launch
from train.__main__ import main

deepspeed.comm.torch.build_shm_op = lambda: None  # it would compile for minutes
PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
train.config.launch._check_deepspeed = lambda _: None
reward_anything()
sys.exit(main())
