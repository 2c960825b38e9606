"""Will a run fit, and how long will it take? Predicted from its configuration and the model's, without weights.

The model's code runs on tensors that have shapes but no numbers (`counting.py`): what it allocates, multiplies and
moves is counted, not guessed, for any architecture and with any adapters. `devices.py` says how fast that goes.
"""
